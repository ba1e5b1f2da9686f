package lab

import (
	"io"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTheZeroOptionsAreAHubWithTwoClusters(t *testing.T) {
	options, err := Options{}.complete("/repo")
	require.NoError(t, err)
	assert.Equal(t, Options{
		Name: "default", Dir: "/repo/.lab/default", Clusters: 2, Pods: PodsAuto, Progress: io.Discard,
	}, options)
}

func TestOptionsThatCannotBe(t *testing.T) {
	for name, options := range map[string]Options{
		"a name that is no DNS label": {Name: "My Lab"},
		"too many clusters":           {Clusters: 51},
		"unknown pods":                {Pods: "fake"},
		"a negative interval":         {WorkResync: -time.Second},
		"a cluster that is not there": {WithoutArgo: []string{"cluster3"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := options.complete("/repo")
			assert.Error(t, err)
		})
	}
}

func TestARunningLabKeepsItsOptionsWhereNothingIsAskedFor(t *testing.T) {
	running, err := Options{Clusters: 3, Pods: PodsSimulated, Audit: true}.complete("/repo")
	require.NoError(t, err)
	merged, err := Options{Pods: PodsAuto, Progress: io.Discard}.over(running)
	require.NoError(t, err)
	assert.Equal(t, running, merged)
}

func TestARunningLabRefusesAnotherShape(t *testing.T) {
	running, err := Options{Clusters: 3, Pods: PodsSimulated}.complete("/repo")
	require.NoError(t, err)
	for _, asked := range []Options{{Clusters: 2}, {Pods: PodsReal}, {HubArgo: HubArgoPlain}, {WithoutArgo: []string{"cluster1"}}} {
		_, err := asked.over(running)
		assert.ErrorContains(t, err, "take it down first")
	}
}

func TestStateIsReadAsItWasWritten(t *testing.T) {
	options, err := Options{Dir: filepath.Join(t.TempDir(), "lab"), WithoutArgo: []string{"cluster2"}}.complete("/repo")
	require.NoError(t, err)
	none, err := loadState(options.Dir)
	require.NoError(t, err)
	require.Nil(t, none)

	want := &state{Repository: "/repo", Options: options, Processes: map[string][]string{hubName: {"etcd"}}}
	want.Clusters, err = layOut(options)
	require.NoError(t, err)
	require.NoError(t, want.save())
	got, err := loadState(options.Dir)
	require.NoError(t, err)
	want.Options.Progress = nil // not kept
	assert.Equal(t, want, got)
}

func TestEveryPortOfALabIsItsOwn(t *testing.T) {
	options, err := Options{Dir: t.TempDir(), Clusters: 5}.complete("/repo")
	require.NoError(t, err)
	clusters, err := layOut(options)
	require.NoError(t, err)
	seen := map[int]string{}
	for _, c := range clusters {
		for use, port := range c.Ports {
			assert.Empty(t, seen[port], "port %d of %s on %s", port, use, c.Name)
			assert.True(t, port >= firstPort && port <= lastPort)
			seen[port] = use
		}
	}
}

func TestTwoLabsThatStartAtATimeHaveDifferentPorts(t *testing.T) {
	seen := map[int]bool{}
	for range 2 {
		clusters, err := layOut(Options{Dir: "/the/same/place", Clusters: 2})
		require.NoError(t, err)
		for _, c := range clusters {
			for use, port := range c.Ports {
				assert.False(t, seen[port], "port %d of %s", port, use)
				seen[port] = true
			}
		}
	}
}

func TestASecondCommandDoesNotGetTheLab(t *testing.T) {
	dir := t.TempDir()
	unlock, err := lockFolder(dir)
	require.NoError(t, err)
	_, err = lockFolder(dir)
	require.ErrorContains(t, err, "another command is at work")
	unlock()
	unlock, err = lockFolder(dir)
	require.NoError(t, err)
	unlock()
}
