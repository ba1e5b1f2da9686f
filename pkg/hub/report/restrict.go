package report

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"k8s.io/apimachinery/pkg/util/json"
	kjson "sigs.k8s.io/json"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// RulesVersion changes whenever the same report is to become another status: with the rules of this package.
const RulesVersion = "1"

// restrict removes from a reported status what the hub Workflow must not carry, and returns what is missing in the
// hub Workflow because of it, where that is worth telling.
//
//   - Where an artifact lies: argo-server on the hub fetches artifacts from where status.nodes says, with secrets of the
//     Workflow's namespace on the hub. A forged endpoint or secret name would send those secrets away. So a location
//     keeps more than its key only where it is one of the Workflow's own spec.
//   - Where that is looked up, for the same reason.
//   - The pointer to nodes that Argo offloaded to the managed cluster's database: the hub cannot follow it.
func restrict(status map[string]any, run Run) []string {
	schemaOf().status.walk(status, visitor{
		store:     func(driver string, location map[string]any) { run.Spec.strip(driver, location) },
		reference: run.restrictReference,
	})
	var problems []string
	for field, value := range status {
		switch {
		case strings.EqualFold(field, contract.FieldCompressedNodes):
			packed, ok := value.(string)
			if !ok || packed == "" {
				continue
			}
			repacked, err := restrictPacked(packed, run.Spec)
			if err != nil {
				delete(status, field)
				problems = append(problems, fmt.Sprintf("the nodes are packed in a way that the hub cannot check: %.256s", err))
				continue
			}
			status[field] = repacked
		case strings.EqualFold(field, contract.FieldOffloadedNodes):
			delete(status, field)
			problems = append(problems, "the nodes are in the managed cluster's database (offloaded), out of the hub's reach")
		}
	}
	slices.Sort(problems)
	return problems
}

// restrictReference leaves, of the reference to where artifacts lie that have no more than a key, what leads to a place
// that the hub's people have named: the ConfigMap of the Workflow's own spec or the default one, in the Workflow's own
// namespace, or the default repository of the hub's argo-server. Another tenant's ConfigMap could name an endpoint of
// theirs, and argo-server would go there with secrets of the Workflow's namespace.
//
// A repository in the reference itself has been stripped like a location. If nothing of its stores is left it goes: with it,
// argo-server would not look at the rest of the reference, and fetch from nowhere.
func (r Run) restrictReference(ref map[string]any) {
	maps.DeleteFunc(ref, func(field string, value any) bool {
		switch field {
		case "configMap":
			return value != r.Spec.configMap
		case "key":
			return value != r.Spec.key
		case "namespace":
			return value != r.Namespace
		case "artifactRepository":
			return isHollow(value)
		default:
			return field != "default"
		}
	})
}

// restrictPacked applies the same to packed nodes, and leaves the packing alone where nothing had to be removed.
func restrictPacked(packed string, own SpecView) (string, error) {
	compressed, err := base64.StdEncoding.DecodeString(packed)
	if err != nil {
		return "", fmt.Errorf("base64: %w", err)
	}
	raw, release, err := packedNodes.expand(compressed)
	defer release()
	if err != nil {
		return "", err
	}
	var nodes map[string]any
	duplicates, err := kjson.UnmarshalStrict(raw, &nodes, kjson.DisallowDuplicateFields)
	if err != nil {
		return "", fmt.Errorf("JSON: %w", err)
	}
	if len(duplicates) > 0 {
		return "", errors.New("JSON: a field is there twice, of which Argo sees what the hub does not")
	}
	// One by one: Argo's types take far more memory than what they are read from.
	for _, node := range nodes {
		if err := checkForm(node, schemaOf().node, &wfv1.NodeStatus{}); err != nil {
			return "", fmt.Errorf("JSON: %w", err)
		}
	}
	stripped := false
	schemaOf().nodes.walk(nodes, visitor{store: func(driver string, location map[string]any) {
		stripped = own.strip(driver, location) || stripped
	}})
	if !stripped {
		return packed, nil
	}
	rest, err := encode(nodes)
	if err != nil {
		return "", fmt.Errorf("JSON: %w", err)
	}
	return contract.PackNodes(rest)
}

// strip leaves of a storage driver's part of a location that the spec does not name no more than the key. It reports whether
// there was more.
func (v SpecView) strip(driver string, location map[string]any) bool {
	if isOnlyKey(location) || v.stores[storeOf(driver, location)] {
		return false
	}
	maps.DeleteFunc(location, func(field string, value any) bool { return !isKey(field, value) })
	return true
}

// isKey reports whether a field of a location names the artifact within its store.
func isKey(field string, value any) bool {
	_, text := value.(string)
	return text && (field == "key" || field == "blob")
}

func isOnlyKey(location map[string]any) bool {
	for field, value := range location {
		if !isKey(field, value) {
			return false
		}
	}
	return true
}

// storeOf identifies where artifacts lie, apart from their keys.
func storeOf(driver string, location map[string]any) string {
	rest := maps.Clone(location)
	maps.DeleteFunc(rest, isKey)
	raw, err := json.Marshal(rest)
	if err != nil {
		return ""
	}
	hash := sha256.Sum256(append([]byte(driver+"\x00"), raw...))
	return hex.EncodeToString(hash[:16])
}

// isHollow reports whether a repository has stores, and says of none where that is.
func isHollow(repository any) bool {
	stores, hollow := 0, true
	schemaOf().reference.at("artifactRepository").walk(repository, visitor{store: func(_ string, location map[string]any) {
		stores++
		hollow = hollow && isOnlyKey(location)
	}})
	return stores > 0 && hollow
}
