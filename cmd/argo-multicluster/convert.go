package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/convert"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/manifest"
)

func newConvertCommand() *cobra.Command {
	var options convert.Options
	cmd := &cobra.Command{
		Use:   "convert [file...]",
		Short: `Turn templates with "cluster" and "namespace" into plugin templates`,
		Long: `Turn templates with "cluster" and "namespace" into plugin templates.

Argo's own proposal for several clusters, which was never merged, gives a template the fields "cluster" and "namespace". This command
makes each such template of a Workflow, WorkflowTemplate, ClusterWorkflowTemplate or CronWorkflow a plugin template with the key
"multicluster", which every Argo takes. All else, comments and order included, stays as it is.

A template with steps, dag or http goes into a WorkflowTemplate of its own, with all templates that it calls; that is printed before the
manifest, and the cluster needs it, too. A template with a namespace and no cluster is to run on the hub, which has to
be one of its own managed clusters.

If anything cannot be converted, all of it is said with its line and column, and nothing is printed to standard output.`,
		Example: `  argo-multicluster convert workflow.yaml | kubectl create -f -

  # several files; "-" is the standard input, and so is no file at all
  helm template chart | argo-multicluster convert --hub-cluster hub - others.yaml > converted.yaml`,
		RunE: func(cmd *cobra.Command, files []string) error {
			documents, problems, err := readManifests(cmd.InOrStdin(), files)
			if err != nil {
				return err
			}
			if len(problems) > 0 {
				return report(cmd.ErrOrStderr(), problems)
			}
			text, problems := convert.Documents(documents, options)
			if err := report(cmd.ErrOrStderr(), problems); err != nil {
				return err
			}
			_, err = io.WriteString(cmd.OutOrStdout(), text)
			return err
		},
	}
	cmd.Flags().StringVar(&options.HubCluster, "hub-cluster", "local-cluster", "name of the hub as a managed cluster")
	return cmd
}

// readManifests reads files, or the standard input for "-" and for no file, and returns what is wrong with them as YAML.
func readManifests(in io.Reader, files []string) ([]*manifest.Document, []manifest.Problem, error) {
	if len(files) == 0 {
		files = []string{"-"}
	}
	var documents []*manifest.Document
	var problems []manifest.Problem
	for _, file := range files {
		var text []byte
		var err error
		if file == "-" {
			file = "stdin"
			text, err = io.ReadAll(in)
		} else {
			text, err = os.ReadFile(file)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("read manifests: %w", err)
		}
		found, wrong := manifest.Read(file, text)
		documents = append(documents, found...)
		problems = append(problems, wrong...)
	}
	return documents, problems, nil
}

// report prints problems, and returns an error if one of them is no warning.
func report(out io.Writer, problems []manifest.Problem) error {
	errorCount := 0
	for _, p := range problems {
		if !p.Warning {
			errorCount++
		}
		if _, err := fmt.Fprintln(out, p); err != nil {
			return err
		}
	}
	switch errorCount {
	case 0:
		return nil
	case 1:
		return errors.New("there is 1 problem")
	}
	return fmt.Errorf("there are %d problems", errorCount)
}
