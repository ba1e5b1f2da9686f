package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/cel-go/cel"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// healthCheck is one of a Kustomization of Flux.
type healthCheck struct {
	Kind, Failed, Current string
}

func TestTheHealthChecksForFluxTellHowARunStands(t *testing.T) {
	var kustomization struct {
		Spec struct{ HealthCheckExprs []healthCheck }
	}
	require.NoError(t, yaml.Unmarshal([]byte(snippet(t, "kind: Kustomization")), &kustomization))
	checks := kustomization.Spec.HealthCheckExprs
	require.Len(t, checks, 2)
	for phase, want := range map[string]string{
		"": "", "Pending": "", "Running": "", "Succeeded": "current", "Failed": "failed", "Error": "failed",
	} {
		workflow := map[string]any{"metadata": map[string]any{"labels": map[string]any{contract.LabelPhase: phase}}}
		assert.Equal(t, want, health(t, checks[0], workflow), "a Workflow that is %q", phase)
		remoteWorkflow := map[string]any{"status": map[string]any{"phase": phase}}
		assert.Equal(t, want, health(t, checks[1], remoteWorkflow), "a RemoteWorkflow that is %q", phase)
	}
	assert.Empty(t, health(t, checks[0], map[string]any{"metadata": map[string]any{}}), "a Workflow that nobody has seen yet")
	assert.Empty(t, health(t, checks[1], map[string]any{"status": map[string]any{}}), "a RemoteWorkflow that is claimed")
}

// health returns which expression of a check is true of an object, evaluated as Flux does: parsed, and not checked for types.
func health(t *testing.T, check healthCheck, object map[string]any) string {
	t.Helper()
	env, err := cel.NewEnv(cel.OptionalTypes())
	require.NoError(t, err)
	for _, expression := range []struct{ name, text string }{{"failed", check.Failed}, {"current", check.Current}} {
		parsed, issues := env.Parse(expression.text)
		require.NoError(t, issues.Err(), expression.text)
		program, err := env.Program(parsed)
		require.NoError(t, err)
		value, _, err := program.Eval(object)
		require.NoError(t, err, expression.text)
		if value.Value() == true {
			return expression.name
		}
	}
	return ""
}

func TestTheIgnoredDifferencesAreWhatTheManagerWrites(t *testing.T) {
	text := snippet(t, "ignoreDifferences:")
	for parent, keys := range map[string][]string{
		"labels":      {contract.LabelPhase, contract.LabelCompleted, contract.LabelInstanceID},
		"annotations": {contract.AnnotationCluster, contract.AnnotationAssigned, contract.AnnotationStatusHash, contract.AnnotationReportHash},
	} {
		for _, key := range keys {
			assert.Contains(t, text, "- /metadata/"+parent+"/"+strings.ReplaceAll(key, "/", "~1")+"\n")
		}
	}
}

// snippet returns the one YAML of the page that has a text.
func snippet(t *testing.T, has string) string {
	t.Helper()
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "gitops.md"))
	require.NoError(t, err)
	var found []string
	for _, block := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(page), -1) {
		if strings.Contains(block[1], has) {
			found = append(found, block[1])
		}
	}
	require.Len(t, found, 1, has)
	return found[0]
}
