package score

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

func TestWhenTheHubIsTold(t *testing.T) {
	at := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	all := contract.Resources{MilliCPU: 10000, Memory: 10000, Pods: 100}
	free := contract.Resources{MilliCPU: 5000, Memory: 5000, Pods: 50}
	capacity := func(mod func(*contract.Capacity)) figures {
		c := contract.Capacity{Nodes: 2, Allocatable: all, Free: free, LargestAllocatable: []contract.Resources{free}, LargestFree: []contract.Resources{free}}
		mod(&c)
		return figures{capacity: c}
	}
	as := capacity(func(*contract.Capacity) {})
	full := capacity(func(c *contract.Capacity) { c.Free.MilliCPU = 0 })
	for name, test := range map[string]struct {
		last, current figures
		after         time.Duration
	}{
		"nothing has changed":               {as, as, 2 * time.Minute},
		"a little CPU was taken":            {as, capacity(func(c *contract.Capacity) { c.Free.MilliCPU -= 499 }), time.Minute},
		"5 % of the CPU were taken":         {as, capacity(func(c *contract.Capacity) { c.Free.MilliCPU -= 500 }), 5 * time.Second},
		"5 % of the CPU are free again":     {as, capacity(func(c *contract.Capacity) { c.Free.MilliCPU += 500 }), 5 * time.Second},
		"5 % of the memory were taken":      {as, capacity(func(c *contract.Capacity) { c.Free.Memory -= 500 }), 5 * time.Second},
		"5 % of the pods were taken":        {as, capacity(func(c *contract.Capacity) { c.Free.Pods -= 5 }), 5 * time.Second},
		"the last of something was taken":   {capacity(func(c *contract.Capacity) { c.Free.Pods = 1 }), capacity(func(c *contract.Capacity) { c.Free.Pods = 0 }), 5 * time.Second},
		"a full cluster has something free": {full, capacity(func(c *contract.Capacity) { c.Free.MilliCPU = 1 }), 5 * time.Second},
		"a full cluster is a little fuller": {full, capacity(func(c *contract.Capacity) { c.Free.MilliCPU = -1 }), time.Minute},
		"a node is gone":                    {as, capacity(func(c *contract.Capacity) { c.Nodes-- }), 5 * time.Second},
		"a node offers more":                {as, capacity(func(c *contract.Capacity) { c.Allocatable.Memory++ }), 5 * time.Second},
		"another node is the largest":       {as, capacity(func(c *contract.Capacity) { c.LargestAllocatable = []contract.Resources{all} }), 5 * time.Second},
		"another node has most free":        {as, capacity(func(c *contract.Capacity) { c.LargestFree = []contract.Resources{all} }), time.Minute},
		"a Workflow runs":                   {as, capacity(func(c *contract.Capacity) { c.WorkflowsRunning++ }), time.Minute},
		"nothing can be measured any more":  {as, figures{reason: "Forbidden", message: "may not"}, 5 * time.Second},
		"it can again":                      {figures{reason: "Forbidden", message: "may not"}, as, 5 * time.Second},
		"there is another reason":           {figures{reason: "Forbidden"}, figures{reason: "Unavailable"}, 5 * time.Second},
		"the same reason has other words":   {figures{reason: "Unavailable", message: "one"}, figures{reason: "Unavailable", message: "other"}, time.Minute},
		"an empty cluster stays empty":      {figures{}, figures{}, 2 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, at.Add(test.after), due(written{figures: test.last, at: at}, test.current))
		})
	}
	assert.Zero(t, due(written{}, as), "at once after the start")
}
