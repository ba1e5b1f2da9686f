package contract_test

import (
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

const uid = types.UID("3f1c2a54-0000-4000-8000-0123456789ab")

func TestRemoteWorkflowNameKeepsWhatIsReadable(t *testing.T) {
	tests := map[string]struct{ name, wantPrefix string }{
		"a plain name":                            {"hello-world", "hello-world-"},
		"dots become dashes":                      {"nightly.train.v2", "nightly-train-v2-"},
		"a digit may come first":                  {"2026-report", "2026-report-"},
		"one character":                           {"a", "a-"},
		"a name of 63 characters is cut":          {strings.Repeat("a", 63), strings.Repeat("a", 40) + "-"},
		"a name of 253 characters is cut":         {strings.Repeat("a", 253), strings.Repeat("a", 40) + "-"},
		"a cut at a dash leaves no double dash":   {strings.Repeat("a", 38) + "--b", strings.Repeat("a", 38) + "-"},
		"a cut at a dot leaves no double dash":    {strings.Repeat("a", 39) + ".b", strings.Repeat("a", 39) + "-"},
		"a name of exactly the prefix is not cut": {strings.Repeat("a", 40), strings.Repeat("a", 40) + "-"},
		"an empty name has a stand-in":            {"", "workflow-"},
		"dashes alone have a stand-in":            {"---", "workflow-"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := contract.RemoteWorkflowName(test.name, uid, 1)
			prefix, hash := got[:strings.LastIndex(got, "-")+1], got[strings.LastIndex(got, "-")+1:]
			assert.Equal(t, test.wantPrefix, prefix)
			assert.Len(t, hash, 20)
			assert.Empty(t, validation.IsDNS1123Label(got))
		})
	}
}

func TestRemoteWorkflowNameDoesNotChangeBetweenReleases(t *testing.T) {
	// A name that changed would make a second RemoteWorkflow, and so a second run, of every dispatched Workflow.
	assert.Equal(t, "hello-world-92a61911ff4e66a2d301", contract.RemoteWorkflowName("hello-world", uid, 1))
}

func TestRemoteWorkflowNameTellsUIDsAndAttemptsApart(t *testing.T) {
	seen := map[string]string{}
	for _, id := range []types.UID{uid, "3f1c2a54-0000-4000-8000-0123456789ac", "", "a", "a/1", "a/11"} {
		for _, attempt := range []int32{math.MinInt32, -1, 0, 1, 2, 11, 111, math.MaxInt32} {
			name := contract.RemoteWorkflowName("hello", id, attempt)
			assert.Empty(t, seen[name], "%s/%d", id, attempt)
			seen[name] = string(id)
		}
	}
}

func FuzzRemoteWorkflowName(f *testing.F) {
	f.Add("hello-world", "uid-a", int32(1), "uid-b", int32(1))
	f.Add("nightly.train", "uid-a", int32(1), "uid-a", int32(2))
	f.Add(strings.Repeat("x.", 120), "", int32(0), "/0", int32(0))
	f.Add("-.-", "a", int32(11), "a/1", int32(1))
	f.Fuzz(func(t *testing.T, name, uidA string, attemptA int32, uidB string, attemptB int32) {
		name = subdomain(name)
		a := contract.RemoteWorkflowName(name, types.UID(uidA), attemptA)
		b := contract.RemoteWorkflowName(name, types.UID(uidB), attemptB)
		require.Empty(t, validation.IsDNS1123Label(a), "%q of %q", a, name)
		require.Empty(t, validation.IsValidLabelValue(a), "%q of %q", a, name)
		require.Equal(t, a, contract.RemoteWorkflowName(name, types.UID(uidA), attemptA))
		if uidA != uidB || attemptA != attemptB {
			require.NotEqual(t, a, b)
		}
	})
}

// subdomain makes of any string one that the API server takes as the name of an object, odd but valid.
func subdomain(s string) string {
	const alphabet = "abcxyz0189-."
	var out strings.Builder
	for _, char := range []byte(s) {
		out.WriteByte(alphabet[int(char)%len(alphabet)])
	}
	labels := strings.FieldsFunc(out.String(), func(r rune) bool { return r == '.' })
	for i, label := range labels {
		labels[i] = "a" + label[:min(len(label), 61)] + "z"
	}
	name := strings.Join(labels, ".")
	return strings.Trim(name[:min(len(name), 253)], "-.")
}
