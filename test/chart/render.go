// Package chart renders the project's Helm charts as Helm does, for tests.
package chart

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/fake"
	"sigs.k8s.io/yaml"
)

// Release is the name of the release that Render renders, and of its namespace.
const Release = "argo-workflow-multicluster"

// Hub renders the chart in the folder with the values, without a hub to ask, for one that serves the APIs ("group/version" and
// "group/version/Kind") beside Kubernetes' own. It returns the objects, hooks included, and the notes.
func Hub(folder string, values map[string]any, apis ...string) ([]*unstructured.Unstructured, string, error) {
	return render(folder, values, apis, engine.Render)
}

// OnHub renders as Hub, for a hub that can be asked and has these objects, of kinds whose plural ends in "s".
func OnHub(
	folder string, values map[string]any, has []*unstructured.Unstructured, apis ...string,
) ([]*unstructured.Unstructured, string, error) {
	return onHub(folder, values, &fakeHub{objects: has}, apis...)
}

func onHub(folder string, values map[string]any, hub *fakeHub, apis ...string) ([]*unstructured.Unstructured, string, error) {
	return render(folder, values, apis, func(c *chart.Chart, values chartutil.Values) (map[string]string, error) {
		return engine.RenderWithClientProvider(c, values, hub)
	})
}

// fakeHub is a fake API server.
type fakeHub struct {
	objects []*unstructured.Unstructured
	// asked are the kinds that it was asked for.
	asked []string
}

// GetClientFor implements engine.ClientProvider.
func (h *fakeHub) GetClientFor(apiVersion, kind string) (dynamic.NamespaceableResourceInterface, bool, error) {
	h.asked = append(h.asked, kind)
	gvk := schema.FromAPIVersionAndKind(apiVersion, kind)
	resource, _ := meta.UnsafeGuessKindToResource(gvk)
	scheme := runtime.NewScheme()
	scheme.AddKnownTypeWithName(gvk, &unstructured.Unstructured{})
	scheme.AddKnownTypeWithName(gvk.GroupVersion().WithKind(kind+"List"), &unstructured.UnstructuredList{})
	isNamespaced := false
	var objects []runtime.Object
	for _, object := range h.objects {
		if object.GroupVersionKind() == gvk {
			objects = append(objects, object)
			isNamespaced = isNamespaced || object.GetNamespace() != ""
		}
	}
	return fake.NewSimpleDynamicClient(scheme, objects...).Resource(resource), isNamespaced, nil
}

type renderer func(*chart.Chart, chartutil.Values) (map[string]string, error)

// filesOf renders the chart, and returns what each template makes, by its path.
func filesOf(folder string, values map[string]any, apis []string, by renderer) (map[string]string, error) {
	loaded, err := loader.Load(folder)
	if err != nil {
		return nil, fmt.Errorf("load chart: %w", err)
	}
	capabilities := chartutil.DefaultCapabilities.Copy()
	capabilities.APIVersions = append(capabilities.APIVersions, apis...)
	options := chartutil.ReleaseOptions{Name: Release, Namespace: Release, Revision: 1, IsInstall: true}
	all, err := chartutil.ToRenderValues(loaded, values, options, capabilities)
	if err != nil {
		return nil, err
	}
	return by(loaded, all)
}

func render(folder string, values map[string]any, apis []string, by renderer) ([]*unstructured.Unstructured, string, error) {
	files, err := filesOf(folder, values, apis, by)
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

// decode reads YAML documents. It is an error if one has a key twice.
func decode(documents string) ([]*unstructured.Unstructured, error) {
	reader := utilyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(documents)))
	var objects []*unstructured.Unstructured
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return objects, nil
		} else if err != nil {
			return nil, err
		}
		raw, err := yaml.YAMLToJSONStrict(document)
		if err != nil {
			return nil, err
		}
		if string(raw) == "null" { // nothing but comments
			continue
		}
		object := &unstructured.Unstructured{}
		if err := object.UnmarshalJSON(raw); err != nil {
			return nil, err
		}
		objects = append(objects, object)
	}
}
