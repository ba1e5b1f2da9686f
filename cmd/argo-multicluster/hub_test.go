package main

import (
	"io"
	"testing"

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
		require.ErrorContains(t, err, "want a time as in RFC 3339, such as 2026-01-02T15:04:05Z", value)
	}
	restoredAt, err := parseTime("2026-01-02T16:04:05+01:00")
	require.NoError(t, err)
	require.Equal(t, "2026-01-02 15:04:05 +0000 UTC", restoredAt.UTC().String())
}
