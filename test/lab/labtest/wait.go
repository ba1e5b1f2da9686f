package labtest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"open-cluster-management.io/argo-workflow-multicluster/test/env"
)

// Eventually fails the test unless ask returns no error in time.
func Eventually(t *testing.T, within time.Duration, ask func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), within, fmt.Errorf("not within %s", within))
	defer cancel()
	require.NoError(t, env.Retry(ctx, ask))
}

// Holds fails the test as soon as ask returns an error during that time.
func Holds(t *testing.T, during time.Duration, ask func() error) {
	t.Helper()
	end := time.After(during)
	ticker := time.NewTicker(250 * time.Millisecond)
	defer ticker.Stop()
	for {
		require.NoError(t, ask())
		select {
		case <-end:
			return
		case <-ticker.C:
		}
	}
}
