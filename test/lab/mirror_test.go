package lab

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAMirrorHoldsTheLatestFilesAndNoOthers(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "mirror")
	require.NoError(t, replaceFiles(folder, map[string][]byte{"kubeconfig": []byte("one"), "old": []byte("x")}))
	require.NoError(t, replaceFiles(folder, map[string][]byte{"kubeconfig": []byte("two"), "tls.key": []byte("y")}))

	content, err := os.ReadFile(filepath.Join(folder, "kubeconfig"))
	require.NoError(t, err)
	assert.Equal(t, "two", string(content))
	entries, err := os.ReadDir(folder)
	require.NoError(t, err)
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	assert.Len(t, names, 4, "the folder of the data, the link to it, two files: %v", names)
	assert.Subset(t, names, []string{dataLink, "kubeconfig", "tls.key"})
}

func TestAllFilesOfAMirrorChangeAtOnce(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "mirror")
	require.NoError(t, replaceFiles(folder, map[string][]byte{"a": []byte("1"), "b": []byte("1")}))
	for _, name := range []string{"a", "b"} {
		target, err := os.Readlink(filepath.Join(folder, name))
		require.NoError(t, err)
		assert.Equal(t, filepath.Join(dataLink, name), target)
	}
}
