"""`/v1/sessions`: reading, creating, driving and ending sessions."""
