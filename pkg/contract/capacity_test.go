package contract

import (
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestACapacityTravelsInTheCondition(t *testing.T) {
	capacity := Capacity{
		Nodes: 2, Allocatable: Resources{8000, 32 << 30, 220}, Free: Resources{-500, 1 << 30, 100},
		LargestAllocatable: []Resources{{4000, 16 << 30, 110}}, LargestFree: []Resources{{1000, 1 << 30, 50}, {-2000, 0, 60}},
		WorkflowsRunning: 3, WorkflowsPending: 1, WorkflowPods: 7, ArgoVersion: "v3.7.18",
	}
	now := metav1.Now()
	condition, err := capacity.Condition(now)
	require.NoError(t, err)
	assert.Equal(t, []any{ConditionMeasured, metav1.ConditionTrue, ReasonMeasured, now},
		[]any{condition.Type, condition.Status, condition.Reason, condition.LastTransitionTime})
	read, err := ReadCapacity(condition.Message)
	require.NoError(t, err)
	assert.Equal(t, capacity, read)
}

func TestWhateverIsMeasuredCanBeRead(t *testing.T) {
	largest, smallest := Resources{math.MaxInt64, math.MaxInt64, math.MaxInt64}, Resources{math.MinInt64, math.MinInt64, math.MinInt64}
	for name, capacity := range map[string]Capacity{
		"nothing":                    {},
		"more than a number can say": {Nodes: math.MaxInt64, Allocatable: largest, Free: largest, LargestFree: []Resources{largest}},
		"less than a number can say": {Nodes: math.MinInt64, Allocatable: smallest, Free: smallest, LargestFree: []Resources{smallest}},
		"negative counts":            {WorkflowsRunning: -1, WorkflowsPending: math.MinInt64, WorkflowPods: -1},
		"more free than there is":    {Allocatable: Resources{1, 1, 1}, Free: Resources{2, 2, 2}, LargestAllocatable: []Resources{{2, 2, 2}}},
		"many large nodes": {
			Allocatable: largest, LargestAllocatable: make([]Resources, 1000),
			LargestFree: append(make([]Resources, 15), smallest, largest),
		},
	} {
		t.Run(name, func(t *testing.T) {
			condition, err := capacity.Condition(metav1.Now())
			require.NoError(t, err)
			_, err = ReadCapacity(condition.Message)
			require.NoError(t, err)
		})
	}
}

func TestWhatNoClusterCanHaveIsNotBelieved(t *testing.T) {
	many := strings.TrimSuffix(strings.Repeat(`{"pods":0},`, MaxLargest+1), ",")
	for name, test := range map[string]struct{ message, problem string }{
		"nothing":                  {``, "read capacity"},
		"no JSON":                  {`cpu=4`, "read capacity"},
		"JSON with something more": {`{}{}`, "read capacity"},
		"a list":                   {`[]`, "read capacity"},
		"a fraction":               {`{"nodes":1.5}`, "read capacity"},
		"a string for a number":    {`{"nodes":"1"}`, "read capacity"},
		"a version of 129 bytes":   {`{"argoVersion":"` + strings.Repeat("v", 129) + `"}`, "no version is 129 bytes long"},
		"a number beyond int64":    {`{"allocatable":{"memory":9223372036854775808}}`, "read capacity"},
		"a number of 10,000 bytes": {`{"nodes":` + strings.Repeat("9", 10000) + `}`, "bytes, more than"},
		"many bytes":               {`{"nodes":1}` + strings.Repeat(" ", 9000), "bytes, more than"},
		"too many nodes":           {`{"largestFree":[` + many + `]}`, "more than 16 nodes"},
		"too many nodes that offer most": {
			`{"largestAllocatable":[` + many + `]}`, "more than 16 nodes",
		},
		"a negative number of nodes":   {`{"nodes":-1}`, "no cluster offers"},
		"more nodes than there can be": {`{"nodes":1000000001}`, "no cluster offers"},
		"negative amounts":             {`{"allocatable":{"milliCPU":-1}}`, "no cluster offers"},
		"more CPU than there can be":   {`{"allocatable":{"milliCPU":1000000000001}}`, "no cluster offers"},
		"the largest number":           {`{"allocatable":{"memory":9223372036854775807}}`, "no cluster offers"},
		"more free than it offers":     {`{"allocatable":{"pods":1},"free":{"pods":2}}`, "no cluster has"},
		"the smallest number free":     {`{"free":{"memory":-9223372036854775808}}`, "no cluster has"},
		"a node with more than all": {
			`{"allocatable":{"pods":1},"largestAllocatable":[{"pods":2}]}`, "no node has",
		},
		"a node with the smallest number": {`{"largestFree":[{"milliCPU":-9223372036854775808}]}`, "no node has"},
		"negative Workflows":              {`{"workflowsPending":-1}`, "Workflows or pods"},
		"more Workflows than can be":      {`{"workflowsRunning":1000000001}`, "Workflows or pods"},
		"negative pods":                   {`{"workflowPods":-1}`, "Workflows or pods"},
	} {
		t.Run(name, func(t *testing.T) {
			capacity, err := ReadCapacity(test.message)
			require.ErrorContains(t, err, test.problem)
			assert.Zero(t, capacity)
		})
	}
}

func TestSumsAndDifferencesStayAtTheLimits(t *testing.T) {
	all := func(n int64) Resources { return Resources{n, n, n} }
	for name, test := range map[string]struct{ got, want Resources }{
		"a sum":                         {Resources{1, 2, 3}.Plus(Resources{10, 20, 30}), Resources{11, 22, 33}},
		"a difference":                  {Resources{1, 2, 3}.Minus(Resources{10, 20, 1}), Resources{-9, -18, 2}},
		"a sum too large":               {all(math.MaxInt64).Plus(all(1)), all(math.MaxInt64)},
		"a sum too small":               {all(math.MinInt64).Plus(all(-1)), all(math.MinInt64)},
		"a difference too small":        {all(-2).Minus(all(math.MaxInt64)), all(math.MinInt64)},
		"a difference too large":        {all(1).Minus(all(math.MinInt64)), all(math.MaxInt64)},
		"the limits against each other": {all(math.MaxInt64).Plus(all(math.MinInt64)), all(-1)},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, test.want, test.got) })
	}
	assert.True(t, all(1).Fits(all(1)))
	assert.False(t, Resources{1, 1, 2}.Fits(all(1)))
}
