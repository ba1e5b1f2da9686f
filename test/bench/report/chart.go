package report

import (
	"fmt"
	"html"
	"os"
	"strings"
)

// Panel is a part of a chart: one figure of several scenarios, each a bar, with its value of the earlier run above it.
type Panel struct {
	Title, Unit string
	// What is the figure's name without the scenario.
	What      string
	Scenarios []string
}

const (
	panelWidth  = 520
	labelWidth  = 150
	barHeight   = 12
	rowHeight   = 2*barHeight + 8
	titleHeight = 34
	lineHeight  = 160
	colorBefore = "#b9c2cc"
	colorNow    = "#2f6fb0"
)

// Chart draws the panels, and below them the run's series, into an SVG file.
func (r *Run) Chart(path string, before *Run, panels []Panel) error {
	var body strings.Builder
	y := 30
	for i, panel := range panels {
		if i%2 == 0 && i > 0 {
			y += panelHeight(panels[i-2], panels[i-1])
		}
		r.drawPanel(&body, panel, before, 10+i%2*(panelWidth+20), y)
	}
	if n := len(panels); n > 0 {
		y += panelHeight(panels[(n-1)/2*2:]...)
	}
	for _, series := range r.Series {
		drawSeries(&body, series, earlierSeries(before, series.Name), y)
		y += titleHeight + lineHeight + 20
	}
	legend := fmt.Sprintf(`<rect x="10" y="8" width="12" height="12" fill=%q/><text x="27" y="18">now</text>`, colorNow)
	if before != nil {
		legend += fmt.Sprintf(`<rect x="70" y="8" width="12" height="12" fill=%q/><text x="87" y="18">before</text>`, colorBefore)
	}
	text := fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">
<rect width="100%%" height="100%%" fill="white"/>
%s
%s</svg>
`, 2*panelWidth+40, y+10, legend, body.String())
	return os.WriteFile(path, []byte(text), 0o644)
}

func panelHeight(panels ...Panel) int {
	rows := 0
	for _, panel := range panels {
		rows = max(rows, len(panel.Scenarios))
	}
	return titleHeight + rows*rowHeight + 10
}

func (r *Run) drawPanel(out *strings.Builder, panel Panel, before *Run, x, y int) {
	title := panel.Title
	if panel.Unit != "" {
		title += " (" + panel.Unit + ")"
	}
	fmt.Fprintf(out, `<text x="%d" y="%d" font-weight="bold">%s</text>`+"\n", x, y+20, html.EscapeString(title))
	largest := 0.0
	for _, scenario := range panel.Scenarios {
		for _, run := range []*Run{r, before} {
			if value, ok := run.Value(scenario + "." + panel.What); ok {
				largest = max(largest, value)
			}
		}
	}
	for i, scenario := range panel.Scenarios {
		top := y + titleHeight + i*rowHeight
		fmt.Fprintf(out, `<text x="%d" y="%d">%s</text>`+"\n", x, top+barHeight+4, html.EscapeString(scenario))
		drawBar(out, before, scenario+"."+panel.What, largest, colorBefore, x+labelWidth, top)
		drawBar(out, r, scenario+"."+panel.What, largest, colorNow, x+labelWidth, top+barHeight)
	}
}

func drawBar(out *strings.Builder, run *Run, name string, largest float64, color string, x, y int) {
	value, ok := run.Value(name)
	if !ok || largest <= 0 {
		return
	}
	width := value / largest * (panelWidth - labelWidth - 60)
	fmt.Fprintf(out, `<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/><text x="%.1f" y="%d" font-size="10">%s</text>`+"\n",
		x, y, width, barHeight-1, color, float64(x)+width+4, y+barHeight-2, number(value))
}

// earlierSeries returns the values of the series in an earlier run, nil if it has none.
func earlierSeries(before *Run, name string) []float64 {
	if before == nil {
		return nil
	}
	for _, series := range before.Series {
		if series.Name == name {
			return series.Values
		}
	}
	return nil
}

func drawSeries(out *strings.Builder, series Series, before []float64, y int) {
	const left, width = 60, 2*panelWidth - 60
	fmt.Fprintf(out, `<text x="10" y="%d" font-weight="bold">%s (%s, over seconds)</text>`+"\n",
		y+20, html.EscapeString(series.Name), html.EscapeString(series.Unit))
	largest, longest := 0.0, max(len(series.Values), len(before), 2)
	for _, value := range append(append([]float64{}, series.Values...), before...) {
		largest = max(largest, value)
	}
	bottom := y + titleHeight + lineHeight
	fmt.Fprintf(out, `<path d="M%d %d V%d H%d" fill="none" stroke="#888"/>`, left, y+titleHeight, bottom, left+width)
	fmt.Fprintf(out, `<text x="10" y="%d" font-size="10">%s</text>`, y+titleHeight+8, number(largest))
	fmt.Fprintf(out, `<text x="%d" y="%d" font-size="10">%d s</text>`+"\n", left+width-20, bottom+12, longest-1)
	for values, color := range map[*[]float64]string{&before: colorBefore, &series.Values: colorNow} {
		var points strings.Builder
		for i, value := range *values {
			fmt.Fprintf(&points, "%.1f,%.1f ", left+float64(i)/float64(longest-1)*width, float64(bottom)-value/max(largest, 1)*lineHeight)
		}
		fmt.Fprintf(out, `<polyline points="%s" fill="none" stroke="%s" stroke-width="1.5"/>`+"\n", points.String(), color)
	}
}
