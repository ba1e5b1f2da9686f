package status

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/json"
	kjson "sigs.k8s.io/json"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// maxNodesBytes bounds expanded compressedNodes. Argo packs nodes so that the object stays below 1 MiB, which
// some ten times as much fits into.
const maxNodesBytes = 32 << 20

// maxNodesValues bounds the values in them, for the same reason as contract.MaxStatusValues. Of honest nodes, packed into
// 1 MiB, there are some 430,000.
const maxNodesValues = 1 << 19

// restrict removes from a reported status what the hub's copy must not carry, and returns what is missing in the
// hub's copy because of it, "" for nothing worth telling.
//
//   - Where an artifact lies: argo-server on the hub fetches artifacts from where status.nodes says, with secrets of the
//     Workflow's namespace on the hub. A forged endpoint or secret name would send those secrets away. So a location
//     keeps more than its key only where it is one of the Workflow's own spec.
//   - Where that is looked up, for the same reason.
//   - The pointer to nodes that Argo offloaded to the managed cluster's database: the hub cannot follow it.
func restrict(status map[string]any, wf *unstructured.Unstructured) string {
	known := locations{}
	walkArtifacts(wf.Object["spec"], func(artifact map[string]any) { known.add(artifact) })
	walkArtifacts(status, func(artifact map[string]any) { known.strip(artifact) })
	restrictRepositoryRef(status, wf)

	var problems []string
	if packed := contract.StatusString(status, "compressedNodes"); packed != "" {
		repacked, err := restrictPacked(packed, known)
		if err != nil {
			delete(status, "compressedNodes")
			problems = append(problems, fmt.Sprintf("the nodes are packed in a way that the hub cannot check: %.256s", err))
		} else {
			status["compressedNodes"] = repacked
		}
	}
	if _, offloaded := status["offloadNodeStatusVersion"]; offloaded {
		delete(status, "offloadNodeStatusVersion")
		problems = append(problems, "the nodes are in the managed cluster's database (offloaded), out of the hub's reach")
	}
	return strings.Join(problems, "; ")
}

// restrictRepositoryRef leaves, of the reference to where artifacts lie that have no more than a key, what leads to a place
// that the hub's people have named: the ConfigMap of the Workflow's own spec or the default one, in the Workflow's own
// namespace, or the default repository of the hub's argo-server. Another tenant's ConfigMap could name an endpoint of
// theirs, and argo-server would go there with secrets of the Workflow's namespace.
//
// A repository in the reference itself has been stripped like a location. If nothing of its stores is left it goes: with it,
// argo-server would not look at the rest of the reference, and fetch from nowhere.
func restrictRepositoryRef(status map[string]any, wf *unstructured.Unstructured) {
	spec, _ := wf.Object["spec"].(map[string]any)
	own, _ := spec["artifactRepositoryRef"].(map[string]any)
	for name, value := range status {
		ref, ok := value.(map[string]any)
		if !ok || !strings.EqualFold(name, "artifactRepositoryRef") {
			continue
		}
		maps.DeleteFunc(ref, func(field string, value any) bool {
			switch field {
			case "configMap", "key":
				return value != contract.StatusString(own, field)
			case "namespace":
				return value != wf.GetNamespace()
			case "artifactRepository":
				return isHollow(value)
			default:
				return field != "default"
			}
		})
	}
}

// restrictPacked applies the same to packed nodes, and leaves the packing alone where nothing had to be removed.
func restrictPacked(packed string, known locations) (string, error) {
	compressed, err := base64.StdEncoding.DecodeString(packed)
	if err != nil {
		return "", fmt.Errorf("base64: %w", err)
	}
	restricted := packed
	err = contract.Expand(compressed, maxNodesBytes, maxNodesValues, func(raw []byte) error {
		var nodes map[string]any
		duplicates, err := kjson.UnmarshalStrict(raw, &nodes, kjson.DisallowDuplicateFields)
		if err != nil {
			return fmt.Errorf("JSON: %w", err)
		}
		if len(duplicates) > 0 {
			return errors.New("JSON: a field is there twice, of which Argo sees what the hub does not")
		}
		// One by one: Argo's types take far more memory than what they are read from.
		for _, node := range nodes {
			if err := checkForm(node, &wfv1.NodeStatus{}); err != nil {
				return fmt.Errorf("JSON: %w", err)
			}
		}
		stripped := false
		walkArtifacts(nodes, func(artifact map[string]any) { stripped = known.strip(artifact) || stripped })
		if !stripped {
			return nil
		}
		rest, err := encode(nodes)
		if err != nil {
			return fmt.Errorf("JSON: %w", err)
		}
		restricted, err = pack(rest)
		return err
	})
	return restricted, err
}

// pack packs nodes as Argo does: gzip'd, in base64.
func pack(nodes []byte) (string, error) {
	compressed, err := contract.Compress(nodes)
	if err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(compressed), nil
}

// notLocations are the fields of an artifact, an archive location or a repository that are objects and yet say
// nothing of where it lies. Whatever else is an object is taken for a storage driver, so that those of newer versions
// of Argo are covered.
var notLocations = []string{"archive", "artifactGC", "raw"}

// artifactFields are the fields that hold an artifact, a list of them, an archive location or a repository.
var artifactFields = []string{"artifacts", "artifact", "artifactPaths", "archiveLocation", "artifactRepository"}

// keyFields name an artifact within its store.
var keyFields = []string{"key", "blob"}

// locations holds, as canonical JSON, the stores that a Workflow's own spec names.
type locations map[string]bool

func (l locations) add(artifact map[string]any) {
	for driver, config := range artifact {
		if location, ok := config.(map[string]any); ok && !slices.Contains(notLocations, driver) {
			l[store(driver, location)] = true
		}
	}
}

// strip leaves of each location that the spec does not name no more than the key. It reports whether there was more.
func (l locations) strip(artifact map[string]any) bool {
	stripped := false
	for driver, config := range artifact {
		location, ok := config.(map[string]any)
		if !ok || slices.Contains(notLocations, driver) || l[store(driver, location)] {
			continue
		}
		before := len(location)
		maps.DeleteFunc(location, func(field string, _ any) bool { return !slices.Contains(keyFields, field) })
		stripped = stripped || len(location) < before
	}
	return stripped
}

// store identifies where artifacts lie, apart from their keys.
func store(driver string, location map[string]any) string {
	rest := maps.Clone(location)
	maps.DeleteFunc(rest, func(field string, _ any) bool { return slices.Contains(keyFields, field) })
	raw, err := json.Marshal(rest)
	if err != nil {
		return ""
	}
	return driver + string(raw)
}

// isHollow reports whether a repository has stores, and says of none where that is.
func isHollow(repository any) bool {
	hollow := false
	drivers, _ := repository.(map[string]any)
	for driver, config := range drivers {
		location, ok := config.(map[string]any)
		if !ok || slices.Contains(notLocations, driver) {
			continue
		}
		if store(driver, location) != driver+"{}" {
			return false
		}
		hollow = true
	}
	return hollow
}

// walkArtifacts calls visit for everything within value that can say where an artifact lies.
func walkArtifacts(value any, visit func(map[string]any)) {
	walkFields(value, artifactFields, func(field any) { visitObjects(field, visit) })
}

// walkFields calls visit for everything within value that has one of the names. These match in any case: Argo unpacks
// compressedNodes with a decoder to which "Artifacts" is as good as "artifacts".
func walkFields(value any, names []string, visit func(any)) {
	switch v := value.(type) {
	case []any:
		for _, item := range v {
			walkFields(item, names, visit)
		}
	case map[string]any:
		for key, field := range v {
			if slices.ContainsFunc(names, func(name string) bool { return strings.EqualFold(name, key) }) {
				visit(field)
			}
			walkFields(field, names, visit)
		}
	}
}

func visitObjects(value any, visit func(map[string]any)) {
	switch v := value.(type) {
	case map[string]any:
		visit(v)
	case []any:
		for _, item := range v {
			visitObjects(item, visit)
		}
	}
}
