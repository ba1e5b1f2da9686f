package contract_test

import (
	"encoding/json"
	"math"
	"testing"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/utils/ptr"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

func TestTheControlsOfASpec(t *testing.T) {
	for name, test := range map[string]struct {
		spec map[string]any
		want v1alpha1.Controls
	}{
		"are none where there are none": {map[string]any{"entrypoint": "main"}, v1alpha1.Controls{}},
		"are all that there are": {
			map[string]any{"suspend": true, "shutdown": "Stop", "priority": int64(-7), "activeDeadlineSeconds": int64(60), "entrypoint": "main"},
			v1alpha1.Controls{Suspend: true, Shutdown: v1alpha1.ShutdownStop, Priority: ptr.To[int32](-7), ActiveDeadlineSeconds: ptr.To[int64](60)},
		},
		"keep a zero": {
			map[string]any{"suspend": false, "priority": int64(0), "activeDeadlineSeconds": int64(0)},
			v1alpha1.Controls{Priority: ptr.To[int32](0), ActiveDeadlineSeconds: ptr.To[int64](0)},
		},
		"are nothing that Argo could not read": {
			map[string]any{"suspend": "true", "shutdown": "Halt", "priority": int64(math.MaxInt32) + 1, "activeDeadlineSeconds": 1.5}, v1alpha1.Controls{},
		},
		"nor of another type": {map[string]any{"suspend": nil, "shutdown": true, "priority": "7", "activeDeadlineSeconds": []any{}}, v1alpha1.Controls{}},
	} {
		t.Run(name, func(t *testing.T) {
			got := contract.ControlsOf(test.spec)
			assert.Equal(t, test.want, got)
			again, ok := contract.DecodeControls(contract.EncodeControls(got))
			assert.True(t, ok)
			assert.Equal(t, got, again)
		})
	}
	for _, text := range []string{"", "true", `{"priority":"x"}`} {
		_, ok := contract.DecodeControls(text)
		assert.False(t, ok, text)
	}
}

func TestOneSpecBecomesTheOtherByThePatchOfItsControls(t *testing.T) {
	specs := []map[string]any{
		{}, {"suspend": true}, {"shutdown": "Stop"}, {"shutdown": "Terminate", "suspend": true}, {"priority": int64(7)},
		{"priority": int64(0), "activeDeadlineSeconds": int64(5)}, {"activeDeadlineSeconds": int64(0)},
	}
	for _, from := range specs {
		for _, to := range specs {
			before, after := contract.ControlsOf(from), contract.ControlsOf(to)
			patch := contract.ControlsPatch(before, after)
			assert.Equal(t, contract.EncodeControls(before) == contract.EncodeControls(after), patch == nil)
			spec, err := json.Marshal(from)
			require.NoError(t, err)
			if patch != nil {
				change, err := json.Marshal(patch)
				require.NoError(t, err)
				spec, err = jsonpatch.MergePatch(spec, change)
				require.NoError(t, err)
			}
			want, err := json.Marshal(to)
			require.NoError(t, err)
			assert.JSONEq(t, string(want), string(spec))
		}
	}
}
