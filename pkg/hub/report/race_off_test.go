//go:build !race

package report

// memoryFactor is 1 without the race detector.
const memoryFactor = 1
