package ttl

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

// finished is a status that has ended in the phase at gen.Time.
func finished(phase string, more ...map[string]any) gen.Mod {
	return gen.WithHubStatus(phase, append([]map[string]any{{"finishedAt": gen.Time.UTC().Format(time.RFC3339)}}, more...)...)
}

// withTTL gives the Workflow a strategy, of whatever form.
func withTTL(strategy any) gen.Mod {
	return func(obj client.Object) {
		obj.(*unstructured.Unstructured).Object["spec"].(map[string]any)["ttlStrategy"] = strategy
	}
}

// fromTemplate makes it a Workflow of a template.
func fromTemplate() gen.Mod {
	return gen.WithSpecField(map[string]any{"name": "shared"}, "workflowTemplateRef")
}

// ofTemplate is what Argo stores of a template with this strategy.
func ofTemplate(strategy any) map[string]any {
	return map[string]any{"storedWorkflowTemplateSpec": map[string]any{"ttlStrategy": strategy}}
}

const (
	never       = time.Duration(-1)
	completion  = "secondsAfterCompletion"
	success     = "secondsAfterSuccess"
	failure     = "secondsAfterFailure"
	aMinute     = int64(60)
	afterMinute = time.Minute + time.Second
)

func TestExpiryIsThatOfArgo(t *testing.T) {
	all := map[string]any{completion: int64(10), success: int64(20), failure: int64(30)}
	tests := map[string]struct {
		mods []gen.Mod
		// want is how long after gen.Time it is deleted.
		want time.Duration
	}{
		"no strategy":                          {[]gen.Mod{finished("Succeeded")}, never},
		"an empty strategy":                    {[]gen.Mod{finished("Succeeded"), withTTL(map[string]any{})}, never},
		"a strategy of null":                   {[]gen.Mod{finished("Succeeded"), withTTL(nil)}, never},
		"all fields, and it succeeded":         {[]gen.Mod{finished("Succeeded"), withTTL(all)}, 21 * time.Second},
		"all fields, and it failed":            {[]gen.Mod{finished("Failed"), withTTL(all)}, 31 * time.Second},
		"all fields, and it ended in an error": {[]gen.Mod{finished("Error"), withTTL(all)}, 11 * time.Second},
		"after completion, and it succeeded":   {[]gen.Mod{finished("Succeeded"), withTTL(map[string]any{completion: aMinute})}, afterMinute},
		"after completion, and it failed":      {[]gen.Mod{finished("Failed"), withTTL(map[string]any{completion: aMinute})}, afterMinute},
		"after success, and it failed":         {[]gen.Mod{finished("Failed"), withTTL(map[string]any{success: aMinute})}, never},
		"after success, and it ended in an error": {
			[]gen.Mod{finished("Error"), withTTL(map[string]any{success: aMinute})}, never,
		},
		"after failure, and it succeeded": {[]gen.Mod{finished("Succeeded"), withTTL(map[string]any{failure: aMinute})}, never},
		"after failure, and it ended in an error, which is no failure": {
			[]gen.Mod{finished("Error"), withTTL(map[string]any{failure: aMinute})}, never,
		},
		"after success or completion, and it failed": {
			[]gen.Mod{finished("Failed"), withTTL(map[string]any{success: int64(0), completion: aMinute})}, afterMinute,
		},
		"a field of null is as good as none": {
			[]gen.Mod{finished("Succeeded"), withTTL(map[string]any{success: nil, completion: aMinute})}, afterMinute,
		},
		"at once":          {[]gen.Mod{finished("Succeeded"), withTTL(map[string]any{completion: int64(0)})}, time.Second},
		"before its end":   {[]gen.Mod{finished("Succeeded"), withTTL(map[string]any{completion: int64(-60)})}, -59 * time.Second},
		"as a float":       {[]gen.Mod{finished("Succeeded"), withTTL(map[string]any{completion: 60.0})}, afterMinute},
		"the largest time": {[]gen.Mod{finished("Succeeded"), withTTL(map[string]any{completion: int64(1<<31 - 1)})}, 1 << 31 * time.Second},
		"that of its template": {
			[]gen.Mod{finished("Succeeded", ofTemplate(map[string]any{completion: aMinute})), fromTemplate()}, afterMinute,
		},
		"its own before that of its template": {
			[]gen.Mod{finished("Succeeded", ofTemplate(all)), fromTemplate(), withTTL(map[string]any{completion: aMinute})}, afterMinute,
		},
		"its own as a whole, without the fields of its template's": {
			[]gen.Mod{finished("Succeeded", ofTemplate(all)), fromTemplate(), withTTL(map[string]any{failure: aMinute})}, never,
		},
		"its own, though empty, before that of its template": {
			[]gen.Mod{finished("Succeeded", ofTemplate(all)), fromTemplate(), withTTL(map[string]any{})}, never,
		},
		"that of its template where its own is null": {
			[]gen.Mod{finished("Succeeded", ofTemplate(map[string]any{completion: aMinute})), fromTemplate(), withTTL(nil)}, afterMinute,
		},
		"that of a template which it does not refer to": {[]gen.Mod{finished("Succeeded", ofTemplate(all))}, never},
		"a template without one":                        {[]gen.Mod{finished("Succeeded", ofTemplate(nil)), fromTemplate()}, never},
		"a template that is left out of the status":     {[]gen.Mod{finished("Succeeded"), fromTemplate()}, never},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			at, expires := expiry(gen.Workflow("hello", test.mods...))
			assert.Equal(t, test.want != never, expires)
			if expires {
				assert.WithinDuration(t, gen.Time.Add(test.want), at, 0)
			}
		})
	}
}

func TestWhatIsMalformedDoesNotExpire(t *testing.T) {
	minute := map[string]any{completion: aMinute}
	tests := map[string][]gen.Mod{
		"the strategy is a string":          {finished("Succeeded"), withTTL("60")},
		"the strategy is a list":            {finished("Succeeded"), withTTL([]any{minute})},
		"the time is a string":              {finished("Succeeded"), withTTL(map[string]any{completion: "60"})},
		"the time is a broken number":       {finished("Succeeded"), withTTL(map[string]any{completion: 0.5})},
		"the time is beyond Argo's type":    {finished("Succeeded"), withTTL(map[string]any{completion: int64(1<<32 + 1)})},
		"the time is huge":                  {finished("Succeeded"), withTTL(map[string]any{completion: 1e300})},
		"a field that does not count":       {finished("Succeeded"), withTTL(map[string]any{completion: aMinute, failure: "60"})},
		"a field in another case":           {finished("Succeeded"), withTTL(map[string]any{"SecondsAfterCompletion": aMinute})},
		"the template's is a string":        {finished("Succeeded", ofTemplate("60")), fromTemplate()},
		"the stored template is a string":   {finished("Succeeded", map[string]any{"storedWorkflowTemplateSpec": "60"}), fromTemplate()},
		"there is no end":                   {gen.WithHubStatus("Succeeded"), withTTL(minute)},
		"the end is empty":                  {finished("Succeeded", map[string]any{"finishedAt": ""}), withTTL(minute)},
		"the end is null":                   {finished("Succeeded", map[string]any{"finishedAt": nil}), withTTL(minute)},
		"the end is a number":               {finished("Succeeded", map[string]any{"finishedAt": int64(0)}), withTTL(minute)},
		"the end is not a time":             {finished("Succeeded", map[string]any{"finishedAt": "yesterday"}), withTTL(minute)},
		"the spec is a string, or missing":  {finished("Succeeded"), withSpec("hello")},
		"the status is a string":            {withTTL(minute), withStatus("Succeeded")},
		"the phase is none that Argo knows": {finished("Done"), withTTL(minute)},
	}
	for name, mods := range tests {
		t.Run(name, func(t *testing.T) {
			_, expires := expiry(gen.Workflow("hello", mods...))
			assert.False(t, expires)
		})
	}
}

func withSpec(spec any) gen.Mod {
	return func(obj client.Object) { obj.(*unstructured.Unstructured).Object["spec"] = spec }
}

func withStatus(status any) gen.Mod {
	return func(obj client.Object) { obj.(*unstructured.Unstructured).Object["status"] = status }
}

func TestOnlyFinishedWorkflowsOfOursExpire(t *testing.T) {
	ttl := withTTL(map[string]any{completion: aMinute})
	tests := map[string]struct {
		mods []gen.Mod
		want bool
	}{
		"finished":            {[]gen.Mod{finished("Succeeded"), ttl}, true},
		"not started":         {[]gen.Mod{ttl}, false},
		"waiting":             {[]gen.Mod{finished("Pending"), ttl}, false},
		"running, once again": {[]gen.Mod{finished("Running"), ttl}, false},
		"being deleted":       {[]gen.Mod{finished("Succeeded"), ttl, gen.Deleting()}, false},
		"not ours": {
			[]gen.Mod{finished("Succeeded"), ttl, gen.WithLabels(map[string]string{contract.LabelEnable: "false"})}, false,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, expires := expiry(gen.Workflow("hello", test.mods...))
			assert.Equal(t, test.want, expires)
		})
	}
}
