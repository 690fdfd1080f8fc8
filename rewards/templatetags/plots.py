"""Charts in pages: inline SVG with neither scripts nor style attributes; the CSP forbids both."""

from typing import Any

from django import template

from rewards import charts

register = template.Library()


@register.inclusion_tag("plots/_line_chart.html")
def line_chart(chart: charts.LineChart, table: bool = True) -> dict[str, Any]:
    """Without `table` where the chart is redrawn every few seconds, which would close it."""
    drawn = charts.draw_lines(chart)
    return drawn if table else drawn | {"table": None}


@register.inclusion_tag("plots/_interval_chart.html")
def interval_chart(chart: charts.IntervalChart) -> dict[str, Any]:
    return charts.draw_intervals(chart)


@register.inclusion_tag("plots/_window_chart.html")
def window_chart(chart: charts.WindowChart) -> dict[str, Any]:
    return charts.draw_windows(chart)
