"""``python -m deploy.grafana``, or ``make dashboards``, writes the files of the dashboards."""

from deploy.grafana.charts import DASHBOARDS
from deploy.grafana.render import render

if __name__ == "__main__":
    for each in DASHBOARDS:
        each.file.write_text(render(each))
