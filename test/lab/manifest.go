package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/template"

	"golang.org/x/sync/errgroup"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// fieldOwner is the lab's name in server-side apply.
const fieldOwner = "argo-multicluster-lab"

// parallelApply bounds the requests that one apply has on the way.
const parallelApply = 16

// Apply applies the objects to the cluster, Namespaces and CustomResourceDefinitions before what needs them, and
// returns when the CRDs among them are served. Objects without namespace go to the given one.
func (c *Cluster) Apply(ctx context.Context, namespace string, objects ...*unstructured.Unstructured) error {
	kubeClient, err := c.Client()
	if err != nil {
		return err
	}
	var first, second []*unstructured.Unstructured
	for _, object := range objects {
		if kind := object.GetKind(); kind == "Namespace" || kind == "CustomResourceDefinition" {
			first = append(first, object)
		} else {
			second = append(second, object)
		}
	}
	for _, batch := range [][]*unstructured.Unstructured{first, second} {
		group, ctx := errgroup.WithContext(ctx)
		group.SetLimit(parallelApply)
		for _, object := range batch {
			group.Go(func() error { return applyOne(ctx, kubeClient, namespace, object) })
		}
		if err := group.Wait(); err != nil {
			return fmt.Errorf("apply to %s: %w", c.Name, err)
		}
	}
	return nil
}

func applyOne(ctx context.Context, c client.Client, namespace string, object *unstructured.Unstructured) error {
	object = object.DeepCopy()
	describe := func(err error) error {
		return fmt.Errorf("%s %s: %w", object.GetKind(), client.ObjectKeyFromObject(object), err)
	}
	namespaced, err := c.IsObjectNamespaced(object)
	if err != nil {
		return describe(err)
	}
	if namespaced && object.GetNamespace() == "" {
		object.SetNamespace(namespace)
	}
	apply := client.ApplyConfigurationFromUnstructured(object)
	if err := c.Apply(ctx, apply, client.FieldOwner(fieldOwner), client.ForceOwnership); err != nil {
		return describe(err)
	}
	if object.GetKind() == "CustomResourceDefinition" {
		if err := waitEstablished(ctx, c, object.GetName()); err != nil {
			return describe(err)
		}
	}
	return nil
}

func waitEstablished(ctx context.Context, c client.Client, name string) error {
	crd := &unstructured.Unstructured{}
	crd.SetGroupVersionKind(apiextensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition"))
	return poll(ctx, func(ctx context.Context) error {
		if err := c.Get(ctx, client.ObjectKey{Name: name}, crd); err != nil {
			return err
		}
		return wantCondition(crd, string(apiextensionsv1.Established))
	})
}

// wantCondition returns an error unless the object's condition is True.
func wantCondition(object *unstructured.Unstructured, condition string) error {
	conditions, _, _ := unstructured.NestedSlice(object.Object, "status", "conditions")
	for _, entry := range conditions {
		fields, _ := entry.(map[string]any)
		if fields["type"] == condition {
			if fields["status"] == "True" {
				return nil
			}
			return fmt.Errorf("condition %s is %v: %v", condition, fields["status"], fields["message"])
		}
	}
	return fmt.Errorf("no condition %s yet", condition)
}

// ApplyFiles applies the objects in the YAML files that the patterns match; a relative pattern starts at the
// repository's root. No match is an error.
func (c *Cluster) ApplyFiles(ctx context.Context, patterns ...string) error {
	for _, pattern := range patterns {
		if !filepath.IsAbs(pattern) {
			pattern = filepath.Join(c.lab.repository, pattern)
		}
		objects, err := readManifests(pattern)
		if err != nil {
			return err
		}
		if err := c.Apply(ctx, metav1.NamespaceDefault, objects...); err != nil {
			return err
		}
	}
	return nil
}

// readManifests reads the objects in the YAML files that the patterns match; no match is an error.
func readManifests(patterns ...string) ([]*unstructured.Unstructured, error) {
	return renderManifests(nil, patterns...)
}

// renderManifests reads YAML files as Go templates with the values, which is the form of OCM's own manifests. With
// nil values a file is taken as it is.
func renderManifests(values any, patterns ...string) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	for _, pattern := range patterns {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			return nil, err
		}
		if len(paths) == 0 {
			return nil, fmt.Errorf("no manifest matches %s", pattern)
		}
		for _, path := range paths {
			read, err := readManifest(path, values)
			if err != nil {
				return nil, fmt.Errorf("manifest %s: %w", path, err)
			}
			objects = append(objects, read...)
		}
	}
	return objects, nil
}

func readManifest(path string, values any) ([]*unstructured.Unstructured, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if values != nil {
		parsed, err := template.New(filepath.Base(path)).Option("missingkey=error").Parse(string(raw))
		if err != nil {
			return nil, err
		}
		var rendered bytes.Buffer
		if err := parsed.Execute(&rendered, values); err != nil {
			return nil, err
		}
		raw = rendered.Bytes()
	}
	return decodeManifest(raw)
}

// decodeManifest reads the objects of a YAML stream; what is no object of Kubernetes' API (a kustomization, an
// empty document) is left out.
func decodeManifest(raw []byte) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(raw), 4096)
	for {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(&object.Object); errors.Is(err, io.EOF) {
			return objects, nil
		} else if err != nil {
			return nil, err
		}
		gvk := object.GroupVersionKind()
		if gvk.Kind != "" && gvk.Group != "kustomize.config.k8s.io" {
			objects = append(objects, object)
		}
	}
}

// newObject makes an object of the kind, with the fields below its root.
func newObject(gvk schema.GroupVersionKind, namespace, name string, fields map[string]any) *unstructured.Unstructured {
	object := &unstructured.Unstructured{Object: map[string]any{}}
	for key, value := range fields {
		object.Object[key] = value
	}
	object.SetGroupVersionKind(gvk)
	object.SetNamespace(namespace)
	object.SetName(name)
	return object
}

func newNamespace(name string) *unstructured.Unstructured {
	return newObject(schema.GroupVersionKind{Version: "v1", Kind: "Namespace"}, "", name, nil)
}
