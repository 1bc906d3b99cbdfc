"""The DevTools door: WebSockets between callers and the browsers of their sessions."""
