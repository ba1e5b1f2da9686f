package score

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"
	clocktesting "k8s.io/utils/clock/testing"
)

var _ cache.TransformingStore = &table[*corev1.Node, node]{}

// signalled returns whether a change was signalled since it was last asked.
func (c *Cluster) signalled() bool {
	select {
	case <-c.changed:
		return true
	default:
		return false
	}
}

func TestATableFollowsItsEvents(t *testing.T) {
	cluster := newTestCluster(t, clocktesting.NewFakePassiveClock(time.Now()))
	table := cluster.pods
	one := newPod("one", "", list("1", "", ""))
	require.NoError(t, table.Add(one))
	assert.True(t, cluster.signalled())
	assert.Zero(t, table.rows[one.UID].node)

	bound := newPod("one", "node", list("1", "", ""))
	require.NoError(t, table.Update(bound))
	assert.True(t, cluster.signalled())
	assert.Equal(t, named("node"), table.rows[one.UID].node)

	bound.Status.PodIP = "10.0.0.1"
	require.NoError(t, table.Update(bound))
	assert.False(t, cluster.signalled(), "though nothing has changed that is kept")

	row, err := table.Transformer()(newPod("two", "node", nil))
	require.NoError(t, err)
	key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(row)
	require.NoError(t, err)
	assert.Equal(t, "default/two", key, "as the reflector asks for, of what is kept")
	require.NoError(t, table.Replace([]any{row}, ""))
	assert.True(t, cluster.signalled())
	assert.Len(t, table.rows, 1)
	require.NoError(t, table.Replace([]any{newPod("two", "node", nil)}, ""))
	assert.False(t, cluster.signalled(), "though the same was listed again")

	require.NoError(t, table.Delete(newPod("two", "node", nil)))
	assert.True(t, cluster.signalled())
	assert.Empty(t, table.rows)
	require.NoError(t, table.Delete(newPod("two", "node", nil)), "which is gone")
	require.NoError(t, table.Resync())
}

func TestATableTakesOnlyItsKind(t *testing.T) {
	table := newTestCluster(t, clocktesting.NewFakePassiveClock(time.Now())).pods
	other := newNode("one", nil)
	require.ErrorContains(t, table.Add(other), "*v1.Node among pods")
	require.ErrorContains(t, table.Update(other), "among pods")
	require.ErrorContains(t, table.Delete(other), "among pods")
	require.ErrorContains(t, table.Replace([]any{other}, ""), "among pods")
	_, err := table.Transformer()(other)
	require.ErrorContains(t, err, "among pods")
	assert.Empty(t, table.rows)
}

func TestAClusterIsMeasuredOnceAllIsListedAndAsLongAsItIsWatched(t *testing.T) {
	clock := clocktesting.NewFakePassiveClock(time.Now())
	cluster := newTestCluster(t, clock)
	measure := func() error {
		_, err := cluster.measure()
		return err
	}
	require.ErrorIs(t, measure(), errNotListed)
	require.NoError(t, cluster.nodes.Replace(nil, ""))
	require.NoError(t, cluster.pods.Replace(nil, ""))
	require.ErrorIs(t, measure(), errNotListed)
	cluster.workflows.fail(t.Context(), apierrors.NewForbidden(schema.GroupResource{Resource: "workflows"}, "", errors.New("no")))
	require.ErrorContains(t, measure(), "cannot watch workflows: ")
	cluster.workflows.fail(t.Context(), apierrors.NewNotFound(schema.GroupResource{}, ""))
	require.NoError(t, measure(), "without Argo there are no Workflows")

	cluster.nodes.fail(t.Context(), apierrors.NewNotFound(schema.GroupResource{}, ""))
	require.NoError(t, measure(), "the API server is away for a moment")
	clock.SetTime(clock.Now().Add(staleAfter - 1))
	cluster.nodes.fail(t.Context(), errors.New("refused"))
	require.NoError(t, measure())
	clock.SetTime(clock.Now().Add(1))
	require.ErrorContains(t, measure(), "cannot watch nodes: refused")
	require.NoError(t, cluster.nodes.Replace(nil, ""))
	require.NoError(t, measure(), "it is back")
}

func TestARealFaultIsNamedBeforeWhatIsOnlyLate(t *testing.T) {
	cluster := newTestCluster(t, clocktesting.NewFakePassiveClock(time.Now()))
	cluster.pods.fail(t.Context(), errors.New("refused"))
	_, err := cluster.measure()
	require.EqualError(t, err, "cannot watch pods: refused")
}
