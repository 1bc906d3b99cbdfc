"""What is done before the chart is removed: `python -m driftstack_operator.uninstall`, its pre-delete hook."""
