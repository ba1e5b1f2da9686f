package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/stepaccess"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/lint"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/manifest"
)

// lintOptions say what to check beside the files.
type lintOptions struct {
	// kubeconfig and context name the hub. With neither, no cluster is asked.
	kubeconfig, context string
	// namespace is that of manifests that name none.
	namespace string
}

func newLintCommand() *cobra.Command {
	var options lintOptions
	cmd := &cobra.Command{
		Use:   "lint [file...]",
		Short: "Check templates whose steps run in other clusters",
		Long: `Check templates whose steps run in other clusters.

It reads the plugin templates with the key "multicluster" in the Workflows, WorkflowTemplates, ClusterWorkflowTemplates and CronWorkflows
of the files, and says with line and column what is wrong with them: the fields of the key and of its body, references among the files,
volumes that do not exist in another cluster, variables that Argo refuses, outputs that it cannot fill. A warning is something that may
be meant so, such as a variable that stays as it is. All else of a manifest is for "argo lint".

With --kubeconfig or --context it also asks the hub whether the named Placements exist, and whether the ManagedClusterSetBindings of the
namespace allow the named clusters and namespaces. That takes the rights to list ManagedClusterSetBindings and to get Placements there,
and to get ManagedClusters, ManagedClusterAddOns and ManagedClusterSets.

It fails if there is anything but warnings.`,
		Example: `  argo-multicluster lint workflow.yaml

  # what a conversion gives, and whether the hub allows it
  argo-multicluster convert proposal.yaml | argo-multicluster lint --context hub -n team -`,
		RunE: func(cmd *cobra.Command, files []string) error {
			documents, problems, err := readManifests(cmd.InOrStdin(), files)
			if err != nil {
				return err
			}
			found, steps := lint.Documents(documents)
			problems = append(problems, found...)
			if options.kubeconfig != "" || options.context != "" {
				refused, err := options.askHub(cmd.Context(), steps)
				if err != nil {
					return err
				}
				problems = append(problems, refused...)
			}
			lint.Sort(documents, problems)
			if err := report(cmd.ErrOrStderr(), problems); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "no problems, and %d template(s) whose steps run in other clusters\n", len(steps))
			return err
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&options.kubeconfig, "kubeconfig", "", "kubeconfig of the hub, to also ask the hub")
	flags.StringVar(&options.context, "context", "", "context of the kubeconfig, to also ask the hub")
	flags.StringVarP(&options.namespace, "namespace", "n", "", "namespace of manifests that name none; by default that of the context")
	return cmd
}

// askHub returns a problem for each step that may not run where it says.
func (o *lintOptions) askHub(ctx context.Context, steps []lint.Step) ([]manifest.Problem, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = o.kubeconfig
	loaded := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: o.context})
	config, err := loaded.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("load kubeconfig: %w", err)
	}
	namespace := o.namespace
	if namespace == "" {
		if namespace, _, err = loaded.Namespace(); err != nil {
			return nil, fmt.Errorf("load kubeconfig: %w", err)
		}
	}
	scheme, err := hub.Scheme()
	if err != nil {
		return nil, err
	}
	reader, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("create client: %w", err)
	}
	return refusals(ctx, reader, namespace, steps)
}

// refusals returns a problem for each step that may not run where it says. Steps of manifests without namespace are of the given one, and
// those of a ClusterWorkflowTemplate of every one, and are not checked.
func refusals(ctx context.Context, reader client.Reader, namespace string, steps []lint.Step) ([]manifest.Problem, error) {
	var problems []manifest.Problem
	for _, s := range steps {
		in := s.Workflow.Namespace
		if in == "" {
			in = namespace
		}
		if s.Workflow.Kind == "ClusterWorkflowTemplate" || s.Cluster == "" && s.Placement == "" {
			continue
		}
		refusal, err := stepaccess.Check(ctx, reader, in, s.Step)
		if err != nil {
			return nil, err
		}
		if refusal != "" {
			problems = append(problems, s.Where("%s", refusal))
		}
	}
	return problems, nil
}
