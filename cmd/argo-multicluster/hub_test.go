package main

import (
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestATimeOfRestorationThatCannotBeReadEndsTheStart(t *testing.T) {
	for _, value := range []string{"yesterday", "2026-01-02", "2026-01-02 15:04:05", ""} {
		cmd := newHubCommand()
		cmd.SetArgs([]string{"--restored-at=" + value})
		cmd.SetOut(io.Discard)
		cmd.SetErr(io.Discard)
		err := cmd.ExecuteContext(t.Context())
		require.ErrorContains(t, err, "--restored-at", value)
		require.ErrorContains(t, err, "invalid time format", value)
	}
}

func TestATimeOfRestorationIsOneAsInRFC3339(t *testing.T) {
	flags := newHubCommand().Flags()
	require.NoError(t, flags.Set("restored-at", "2026-01-02T16:04:05+01:00"))
	restoredAt, err := flags.GetTime("restored-at")
	require.NoError(t, err)
	assert.True(t, restoredAt.Equal(time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)), restoredAt)
	assert.Contains(t, flags.FlagUsages(), "--restored-at time ")
}
