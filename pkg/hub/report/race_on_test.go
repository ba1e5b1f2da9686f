//go:build race

package report

// memoryFactor is for what tests with the race detector allocate in addition: it empties pools of buffers at random.
const memoryFactor = 2
