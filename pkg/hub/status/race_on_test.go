//go:build race

package status

// memoryFactor is for what tests with the race detector allocate in addition: it empties pools of buffers at random.
const memoryFactor = 2
