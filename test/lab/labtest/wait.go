package labtest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Retry asks until there is no error, or the context ends.
func Retry(ctx context.Context, ask func() error) error {
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := ask()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-ticker.C:
		}
	}
}

// Eventually fails the test unless ask returns no error in time.
func Eventually(t *testing.T, within time.Duration, ask func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), within, fmt.Errorf("not within %s", within))
	defer cancel()
	require.NoError(t, Retry(ctx, ask))
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
