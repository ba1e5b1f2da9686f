// Package chart renders the project's Helm charts as Helm does, for tests.
package chart

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
)

// Release is the name of the release that Render renders, and of its namespace.
const Release = "argo-workflow-multicluster"

// Hub renders the chart in the folder with the values, for a cluster that serves the APIs ("group/version" and
// "group/version/Kind") beside Kubernetes' own. It returns the objects, hooks included, and the notes.
func Hub(folder string, values map[string]any, apis ...string) ([]*unstructured.Unstructured, string, error) {
	loaded, err := loader.Load(folder)
	if err != nil {
		return nil, "", fmt.Errorf("load chart: %w", err)
	}
	capabilities := chartutil.DefaultCapabilities.Copy()
	capabilities.APIVersions = append(capabilities.APIVersions, apis...)
	options := chartutil.ReleaseOptions{Name: Release, Namespace: Release, Revision: 1, IsInstall: true}
	all, err := chartutil.ToRenderValues(loaded, values, options, capabilities)
	if err != nil {
		return nil, "", err
	}
	files, err := engine.Render(loaded, all)
	if err != nil {
		return nil, "", err
	}
	var objects []*unstructured.Unstructured
	notes := ""
	for _, name := range slices.Sorted(maps.Keys(files)) {
		switch {
		case path.Base(name) == "NOTES.txt":
			notes = files[name]
		case !strings.HasPrefix(path.Base(name), "_"):
			read, err := decode(files[name])
			if err != nil {
				return nil, "", fmt.Errorf("%s: %w", name, err)
			}
			objects = append(objects, read...)
		}
	}
	return objects, notes, nil
}

func decode(documents string) ([]*unstructured.Unstructured, error) {
	reader := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader([]byte(documents)), 4096)
	var objects []*unstructured.Unstructured
	for {
		object := &unstructured.Unstructured{}
		if err := reader.Decode(object); errors.Is(err, io.EOF) {
			return objects, nil
		} else if err != nil {
			return nil, err
		}
		if len(object.Object) > 0 {
			objects = append(objects, object)
		}
	}
}
