//go:build !race

package status

// memoryFactor is 1 without the race detector.
const memoryFactor = 1
