package main

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// runCommand runs the program with these arguments and returns what it writes to standard output.
func runCommand(t *testing.T, args ...string) (string, error) {
	t.Helper()
	out := &bytes.Buffer{}
	cmd := newCommand()
	cmd.SetArgs(args)
	cmd.SetOut(out)
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

func TestTheHelpOfReleaseSaysWhatItIsForAndHow(t *testing.T) {
	help, err := runCommand(t, "agent", "release", "--help")
	require.NoError(t, err)
	for _, want := range []string{
		"argo-multicluster agent release [flags]", "--hub-id", "--all-hubs", "--cluster-name", "--agent-namespace", "--timeout", "--dry-run",
		"--kubeconfig", "pre-delete hook", "Workflows that run go on", "scale the agent's Deployment to 0",
	} {
		assert.Contains(t, help, want)
	}
	help, err = runCommand(t, "agent", "--help")
	require.NoError(t, err)
	assert.Contains(t, help, "release ")
	assert.Contains(t, help, "--hub-id")
}

func TestReleaseAsksForAHub(t *testing.T) {
	_, err := runCommand(t, "agent", "release")
	require.ErrorContains(t, err, "--hub-id is required")
	_, err = runCommand(t, "agent", "release", "--hub-id=one", "--all-hubs")
	require.ErrorContains(t, err, "exclude each other")
	_, err = runCommand(t, "agent", "release", "everything")
	require.ErrorContains(t, err, "unknown command")
}

func TestTheAgentIsOfTheSameBuildAsTheManager(t *testing.T) {
	assert.Equal(t, "quay.io/open-cluster-management/argo-multicluster:latest", defaultAgentImage())
}
