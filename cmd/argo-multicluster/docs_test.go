package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"open-cluster-management.io/argo-workflow-multicluster/test/docs"
)

// TestTheCommandsAreDocumented compares the documentation with the commands, or with UPDATE_DOCS=1 writes it.
func TestTheCommandsAreDocumented(t *testing.T) {
	const file, part = "../../docs/reference/cli.md", "commands"
	t.Setenv("POD_NAMESPACE", "") // a default of a flag
	reference := referenceOf(newCommand())
	if os.Getenv("UPDATE_DOCS") != "" {
		require.NoError(t, docs.SetBlock(file, part, reference))
	}
	documented, err := docs.Block(file, part)
	require.NoError(t, err)
	assert.Equal(t, reference, documented, "make generate writes it anew")
}

// referenceOf returns a command and all below it as Markdown: what it is, how it is used, what it does, examples and flags.
func referenceOf(cmd *cobra.Command) string {
	cmd.InitDefaultHelpFlag()
	cmd.Flags().SortFlags = true
	var text strings.Builder
	fmt.Fprintf(&text, "\n## %s\n\n%s.\n", cmd.CommandPath(), cmd.Short)
	long := strings.TrimPrefix(cmd.Long, cmd.Short+".\n\n")
	for _, block := range []string{cmd.UseLine(), long, cmd.Example, cmd.LocalFlags().FlagUsagesWrapped(120)} {
		if block = strings.TrimRight(block, "\n"); block != "" {
			fmt.Fprintf(&text, "\n```text\n%s\n```\n", block)
		}
	}
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			text.WriteString(referenceOf(sub))
		}
	}
	return text.String()
}
