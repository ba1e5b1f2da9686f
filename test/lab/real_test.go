package lab

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/util/validation"
)

func TestNodeLabTellsFoldersApart(t *testing.T) {
	require.NotEqual(t, nodeLab("/one/.lab/default"), nodeLab("/two/.lab/default"))
	for _, dir := range []string{"/one/.lab/default", "/tmp/TestUp_A.b/001", "/" + strings.Repeat("long", 20)} {
		require.Empty(t, validation.IsDNS1123Label("x"+nodeLab(dir)), dir)
		require.LessOrEqual(t, len(nodeLab(dir)), 27, "it is part of the paths of sockets")
	}
}

func TestSimulatedPodsNeedNothingOfTheMachine(t *testing.T) {
	var out bytes.Buffer
	mode, reason, err := resolvePods(t.Context(), PodsSimulated, &out)
	require.NoError(t, err)
	require.Equal(t, PodsSimulated, mode)
	require.Empty(t, reason)
	require.Empty(t, out.String())
}

func TestOnlyProcessesOfRealClustersEnterANamespace(t *testing.T) {
	cases := map[string]struct {
		pods   PodMode
		onHost bool
		enters bool
	}{
		"real":                  {PodsReal, false, true},
		"real, but on the host": {PodsReal, true, false},
		"simulated":             {PodsSimulated, false, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			l := &Lab{opts: Options{Dir: "/labs/one", Pods: tc.pods}}
			c := &Cluster{Name: "cluster1", lab: l, index: 1}
			argv := c.command(Process{Name: "p", Path: "/bin/p", Args: []string{"--flag"}, OnHost: tc.onHost}).Args
			require.Equal(t, []string{"/bin/p", "--flag"}, argv[len(argv)-2:])
			require.Equal(t, tc.enters, argv[0] == "nsenter")
		})
	}
}
