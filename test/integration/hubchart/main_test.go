// Package hubchart tests the hub chart on a real API server: that it takes what the chart renders, what its admission
// policies let pass and what they refuse, and that the manager's rights are enough to start it.
package hubchart

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub"
	"open-cluster-management.io/argo-workflow-multicluster/test/chart"
	"open-cluster-management.io/argo-workflow-multicluster/test/env"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

const (
	hubChart = "../../../charts/argo-workflow-multicluster"
	// patience is how long what must happen may take on a busy machine.
	patience = time.Minute
	// team is the namespace of the Workflows.
	team = "team"
	// older is a Workflow that was there before the chart.
	older = "older"
)

var (
	server *env.Server
	// admin is an administrator's access.
	admin client.Client
)

func TestMain(m *testing.M) {
	os.Exit(env.Main(m, filepath.Join("..", "..", "..", "_output", "hubchart-logs"), setUp, tearDown))
}

func tearDown() error {
	if server == nil {
		return nil
	}
	return server.Stop()
}

// setUp installs the chart on a server that has MutatingAdmissionPolicies, with all of its policies.
func setUp(ctx context.Context, dir string) error {
	crds, err := env.HubCRDs(ctx)
	if err != nil {
		return err
	}
	if server, err = env.Start(ctx, dir, "hub", crds, "feature-gates=MutatingAdmissionPolicy=true",
		"runtime-config=admissionregistration.k8s.io/v1beta1=true"); err != nil {
		return err
	}
	scheme, err := hub.Scheme()
	if err != nil {
		return err
	}
	if admin, err = client.New(server.Config, client.Options{Scheme: scheme}); err != nil {
		return err
	}
	for _, object := range append([]client.Object{namespace(team), namespace("argo"), namespace(chart.Release), workflow(older)}, invalidBefore()...) {
		if err := admin.Create(ctx, object); err != nil {
			return err
		}
	}
	return install(ctx)
}

// install creates all that the chart renders for this server; a field that the server does not know is an error.
func install(ctx context.Context) error {
	apis, err := served()
	if err != nil {
		return err
	}
	byPlacement := map[string]any{"placements": []any{map[string]any{"namespace": team, "name": "all"}}}
	values := map[string]any{
		"crds":          map[string]any{"install": false}, // it is there already
		"hubArgo":       map[string]any{"enabled": true},
		"networkPolicy": map[string]any{"enabled": true},
		"addons":        map[string]any{"agent": map[string]any{"install": byPlacement}},
	}
	objects, _, err := chart.Hub(hubChart, values, apis...)
	if err != nil {
		return err
	}
	strict := client.WithFieldValidation(admin, metav1.FieldValidationStrict)
	var errs []error
	for _, object := range objects {
		if err := strict.Create(ctx, object); err != nil {
			errs = append(errs, fmt.Errorf("%s %s: %w", object.GetKind(), object.GetName(), err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return waitForPolicies(ctx)
}

func namespace(name string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
}

// workflow builds a Workflow for the managed clusters.
func workflow(name string, mods ...gen.Mod) *unstructured.Unstructured {
	return gen.Workflow(name, append([]gen.Mod{gen.InNamespace(team)}, mods...)...)
}

func withInstanceID(id string) gen.Mod {
	return gen.WithLabels(map[string]string{contract.LabelInstanceID: id})
}

// served returns what the server serves, as Helm asks for it.
func served() ([]string, error) {
	discovered, err := discovery.NewDiscoveryClientForConfig(server.Config)
	if err != nil {
		return nil, err
	}
	_, lists, err := discovered.ServerGroupsAndResources()
	if err != nil {
		return nil, err
	}
	var apis []string
	for _, list := range lists {
		apis = append(apis, list.GroupVersion)
		for i := range list.APIResources {
			apis = append(apis, list.GroupVersion+"/"+list.APIResources[i].Kind)
		}
	}
	return apis, nil
}

// eventually asks until there is no error, within patience.
func eventually(ctx context.Context, ask func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return env.Retry(ctx, ask)
}

// waitForPolicies returns when the API server follows the policies of dormancy and of values, which takes it a moment: they refuse
// something, and the mutating one adds the label.
func waitForPolicies(ctx context.Context) error {
	return eventually(ctx, func() error {
		wrong := workflow("probe", withInstanceID("other"))
		if err := admin.Create(ctx, wrong, client.DryRunAll); !apierrors.IsInvalid(err) {
			return fmt.Errorf("the policy does not refuse an instance id: %w", err)
		}
		right := workflow("probe")
		if err := admin.Create(ctx, right, client.DryRunAll); err != nil {
			return err
		}
		if right.GetLabels()[contract.LabelInstanceID] == "" {
			return errors.New("the policy does not add the instance id")
		}
		for _, invalid := range invalid("probe") {
			if err := admin.Create(ctx, invalid, client.DryRunAll); !apierrors.IsInvalid(err) {
				return fmt.Errorf("no policy refuses the values of a %T: %w", invalid, err)
			}
		}
		return nil
	})
}
