package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab"
)

// follow prints each change of the Workflows on the hub until all have finished; it is an error if one has not succeeded.
func follow(ctx context.Context, l *lab.Lab, names ...string) error {
	say("Their status, as the hub shows it")
	config, err := l.Hub().Config()
	if err != nil {
		return err
	}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("create client: %w", err)
	}
	workflows := client.Resource(contract.WorkflowGVR).Namespace(metav1.NamespaceDefault)
	changes, err := workflows.Watch(ctx, metav1.ListOptions{LabelSelector: contract.LabelEnable + "=" + contract.LabelEnableValue})
	if err != nil {
		return fmt.Errorf("watch Workflows: %w", err)
	}
	defer changes.Stop()
	seen, ended := map[string]string{}, map[string]string{}
	for len(ended) < len(names) {
		select {
		case <-ctx.Done():
			return fmt.Errorf("the Workflows have not finished in time (%v): the logs are in %s", seen, filepath.Join(l.Options().Dir, "logs"))
		case change, open := <-changes.ResultChan():
			if !open || change.Type == watch.Error {
				return errors.New("the hub's API server ended the watch")
			}
			wf, ok := change.Object.(*unstructured.Unstructured)
			if !ok || !slices.Contains(names, wf.GetName()) {
				continue
			}
			if line := describe(wf); line != seen[wf.GetName()] {
				seen[wf.GetName()] = line
				fmt.Printf("%-12s %s\n", wf.GetName(), line)
			}
			if phase := contract.Phase(wf); contract.IsFinished(phase) {
				ended[wf.GetName()] = phase
			}
		}
	}
	for name, phase := range ended {
		if phase != "Succeeded" {
			return fmt.Errorf("Workflow %s ended %s", name, phase)
		}
	}
	return nil
}

// describe sums up what the hub Workflow shows.
func describe(wf *unstructured.Unstructured) string {
	status := contract.Status(wf)
	parts := []string{fmt.Sprintf("%-9s", contract.Phase(wf)), fmt.Sprintf("%-5s", contract.StatusString(status, "progress"))}
	if cluster := contract.AssignedCluster(wf); cluster != "" {
		parts = append(parts, "on "+cluster)
	}
	if message := contract.StatusString(status, "message"); message != "" {
		parts = append(parts, message)
	}
	return strings.TrimSpace(strings.Join(parts, " "))
}

// show prints where each piece of the Workflows is, with the commands that show it.
func show(ctx context.Context, l *lab.Lab) error {
	steps := []struct {
		title string
		do    func() error
	}{
		{"On the hub: the Workflows", func() error { return kubectl(ctx, l.Hub(), "get", "workflow", "--show-labels=false") }},
		{"On the hub: the contract with each agent", func() error {
			return kubectl(ctx, l.Hub(), "get", "remoteworkflow", "--all-namespaces")
		}},
		{"On the hub: each node of the DAG, with its outputs", func() error { return printNodes(ctx, l, "dag") }},
		{"On the managed clusters: the real Workflows and their pods", func() error {
			for _, c := range l.Managed() {
				fmt.Println(c.Name + ":")
				if err := kubectl(ctx, c, "get", "workflow,pod", "--label-columns="+contract.LabelCluster); err != nil {
					return err
				}
			}
			return nil
		}},
		{"On its managed cluster: what hello-world printed", func() error { return printLog(ctx, l, "hello-world") }},
	}
	for _, step := range steps {
		say(step.title)
		if err := step.do(); err != nil {
			return err
		}
	}
	goOn(l)
	return nil
}

func kubectl(ctx context.Context, c *lab.Cluster, args ...string) error {
	cmd := exec.CommandContext(ctx, kubectlPath(), append([]string{"--kubeconfig", c.Kubeconfig()}, args...)...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("kubectl %s: %w", strings.Join(args, " "), err)
	}
	return nil
}

func kubectlPath() string { return filepath.Join("bin", "lab", "kubectl") }

// printLog prints the log of a Workflow's one pod, on the cluster where it ran.
func printLog(ctx context.Context, l *lab.Lab, name string) error {
	wf, err := hubCopy(ctx, l, name)
	if err != nil {
		return err
	}
	for _, c := range l.Managed() {
		if c.Name == contract.AssignedCluster(wf) {
			return kubectl(ctx, c, "logs", "--selector=workflows.argoproj.io/workflow="+name, "--container=main", "--tail=-1")
		}
	}
	return fmt.Errorf("Workflow %s ran on %q, which is none of the lab's clusters", name, contract.AssignedCluster(wf))
}

func hubCopy(ctx context.Context, l *lab.Lab, name string) (*unstructured.Unstructured, error) {
	client, err := l.Hub().Client()
	if err != nil {
		return nil, err
	}
	wf := contract.NewWorkflow()
	if err := client.Get(ctx, types.NamespacedName{Namespace: metav1.NamespaceDefault, Name: name}, wf); err != nil {
		return nil, fmt.Errorf("get Workflow: %w", err)
	}
	return wf, nil
}

// printNodes prints the nodes in the status of the hub Workflow.
func printNodes(ctx context.Context, l *lab.Lab, name string) error {
	wf, err := hubCopy(ctx, l, name)
	if err != nil {
		return err
	}
	nodes, _, err := unstructured.NestedMap(wf.Object, "status", "nodes")
	if err != nil {
		return fmt.Errorf("status of Workflow %s: %w", name, err)
	}
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintln(out, "NODE\tTYPE\tPHASE\tOUTPUTS")
	var lines []string
	for _, value := range nodes {
		node, _ := value.(map[string]any)
		lines = append(lines, fmt.Sprintf("%v\t%v\t%v\t%s", node["displayName"], node["type"], node["phase"], outputs(node)))
	}
	slices.Sort(lines)
	fmt.Fprintln(out, strings.Join(lines, "\n"))
	return out.Flush()
}

func outputs(node map[string]any) string {
	parameters, _, _ := unstructured.NestedSlice(node, "outputs", "parameters")
	var parts []string
	for _, value := range parameters {
		parameter, _ := value.(map[string]any)
		parts = append(parts, fmt.Sprintf("%v=%v", parameter["name"], parameter["value"]))
	}
	return strings.Join(parts, " ")
}

// goOn prints what to paste to look further.
func goOn(l *lab.Lab) {
	say("How to go on")
	first := l.Managed()[0]
	fmt.Printf(`export KUBECONFIG=%s
%s get workflow --watch                                    # the hub
%s get workflow dag --output=yaml                          # the whole status
%s --kubeconfig %s get workflow,pod   # a managed cluster
%s delete workflow hello-world                             # ends it and removes it from its cluster
make demo-down                                             # stops all of this
`, l.Hub().Kubeconfig(), kubectlPath(), kubectlPath(), kubectlPath(), first.Kubeconfig(), kubectlPath())
}
