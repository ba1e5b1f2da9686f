package measure

import (
	"bytes"
	"strconv"
	"strings"
)

// Sum adds up the samples of a metric in the text that a program serves, those that have all the labels, each as `name="value"`.
func Sum(text []byte, metric string, labels ...string) float64 {
	sum := 0.0
	for _, value := range By(text, metric, "", labels...) {
		sum += value
	}
	return sum
}

// By is Sum for each value of a label.
func By(text []byte, metric, label string, labels ...string) map[string]float64 {
	sums := map[string]float64{}
lines:
	for line := range bytes.Lines(text) {
		sample, found := strings.CutPrefix(string(line), metric)
		if !found || sample == "" || sample[0] != '{' && sample[0] != ' ' {
			continue
		}
		end := strings.LastIndexByte(sample, ' ')
		for _, wanted := range labels {
			if !strings.Contains(sample[:end], wanted) {
				continue lines
			}
		}
		value, err := strconv.ParseFloat(strings.TrimSpace(sample[end:]), 64)
		if err != nil {
			continue
		}
		of := ""
		if _, after, ok := strings.Cut(sample[:end], label+`="`); ok && label != "" {
			of, _, _ = strings.Cut(after, `"`)
		}
		sums[of] += value
	}
	return sums
}
