"""The operator: turns BrowserSessions into browser pods, and ends into SessionRecords."""
