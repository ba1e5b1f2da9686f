package run

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

func wantingSpec(rw *v1alpha1.RemoteWorkflow) { rw.Spec.WantSpec = true }

func TestTheSpecIsReportedAsLongAsTheHubAsksForIt(t *testing.T) {
	for _, phase := range []string{"Running", "Succeeded"} {
		t.Run(phase, func(t *testing.T) {
			e := newEnv(t, newRemote(claimed, knownStarted, wantingSpec), newCopy(t, opened, inPhase(phase), inSpec("priority", int64(7))))
			e.reconcileInTime()
			spec, _ := e.workflow().Object["spec"].(map[string]any)
			want, err := contract.EncodeStatus(spec)
			require.NoError(t, err)
			assert.Equal(t, &v1alpha1.ReportedSpec{Data: want}, e.remote().Status.Spec)
			written := len(e.hubWrites)
			e.reconcileInTime()
			assert.Len(t, e.hubWrites, written, "it is reported once")

			rw := e.remote()
			rw.Spec.WantSpec = false
			require.NoError(t, e.hub.Update(t.Context(), rw))
			e.reconcileInTime()
			assert.Nil(t, e.remote().Status.Spec)
			assert.Nil(t, e.hubWrites[len(e.hubWrites)-1]["status"].(map[string]any)["spec"])
		})
	}
}

func TestASpecThatDoesNotFitBesideTheReportIsNotReported(t *testing.T) {
	random := rand.NewChaCha8([32]byte{})
	noise := make([]byte, maxBesideReport)
	_, err := random.Read(noise)
	require.NoError(t, err)
	text := make([]rune, len(noise)) // of bytes that gzip makes no smaller
	for i, b := range noise {
		text[i] = rune(b)%94 + 33
	}
	for name, test := range map[string]struct {
		runes, reported int
		want            bool
	}{
		"a small one beside a small report": {1 << 10, 1 << 10, true},
		"a small one beside a large report": {1 << 10, maxBesideReport - 100, false},
		"a large one":                       {len(text), 0, true}, // 6.6 bits each
		"a large one beside a report":       {len(text), maxBesideReport / 4, false},
	} {
		t.Run(name, func(t *testing.T) {
			wf := newCopy(t, inSpec("podSpecPatch", string(text[:test.runes])))
			spec := specOf(newRemote(wantingSpec), wf, test.reported)
			require.NotNil(t, spec, "it is an answer all the same")
			assert.Equal(t, test.want, spec.Data != nil)
		})
	}
	assert.Nil(t, specOf(newRemote(), &unstructured.Unstructured{}, 0), "nobody asks")
}
