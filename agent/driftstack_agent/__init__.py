"""The agent: parent of one headless Chromium in a browser pod, and the only way to drive it."""
