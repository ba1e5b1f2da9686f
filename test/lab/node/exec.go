package node

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
)

// run runs a command to its end. The error says which command it was and what it printed.
func run(ctx context.Context, argv ...string) error {
	out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
