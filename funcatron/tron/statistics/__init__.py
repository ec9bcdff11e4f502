"""What Runners, Frontends and queues tell, merged into one picture: `Statistics`. The values that it returns are in
`figures`."""

from funcatron.tron.statistics.figures import Flow, FuncFigures, Picture, RunnerFigures, Spread, Totals
from funcatron.tron.statistics.merging import Statistics

__all__ = ["Flow", "FuncFigures", "Picture", "RunnerFigures", "Spread", "Statistics", "Totals"]
