package report

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"sync"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// specFormVersion grows with each change of NormalSpec: what an earlier one has made a digest of is not compared.
const specFormVersion = "1:"

// SpecDigest identifies what a user wrote in a Workflow's spec, but for what may change: by NormalSpec. The spec is only read.
func SpecDigest(spec map[string]any) string {
	raw, err := json.Marshal(NormalSpec(spec))
	if err != nil {
		return "" // JSON came from an API server
	}
	sum := sha256.Sum256(raw)
	return specFormVersion + hex.EncodeToString(sum[:16])
}

// IsOtherSpec reports whether two digests are of specs that differ. Without one of them, or with one of another version, nobody knows.
func IsOtherSpec(a, b string) bool {
	return a != b && strings.HasPrefix(a, specFormVersion) && strings.HasPrefix(b, specFormVersion)
}

// liveFields are the fields of a hub Workflow's spec that have an effect also when it was sent: the controls, and ttlStrategy, by which the
// hub deletes it.
var liveFields = append([]string{"ttlStrategy"}, contract.ControlFields...)

// NormalSpec returns a Workflow's spec in the one form that all have that say the same: Argo's clients, and its controllers, put whole
// Workflows back as their types have them, which leaves out what is empty, and writes "500m" for "0.5". What the types do not know stays
// as it is. It lacks what may change (the live fields, and the parameters in arguments), and the labels by which the pods of a remote
// Workflow are known.
//
// The spec is only read, and the result shares what is below with it.
func NormalSpec(spec map[string]any) map[string]any {
	return normalSpec(spec, specFormOf().of)
}

// IsSameToArgo reports whether two specs are one to Argo's types: they differ at most in what these do not know, and in what may change.
func IsSameToArgo(a, b map[string]any) bool {
	known := specFormOf().onlyKnown
	return reflect.DeepEqual(normalSpec(a, known), normalSpec(b, known))
}

func normalSpec(spec map[string]any, of func(any, *form) (any, bool)) map[string]any {
	normal, _ := of(spec, specFormOf().spec)
	out, _ := normal.(map[string]any)
	if out == nil {
		return map[string]any{}
	}
	for _, field := range liveFields {
		delete(out, field)
	}
	without(out, []string{"arguments"}, "parameters")
	without(out, []string{"podMetadata", "labels"}, contract.LabelCluster, contract.LabelWorkflowNamespace)
	return out
}

// without removes keys of the object at the path, and what is empty then on the way there.
func without(object map[string]any, path []string, keys ...string) {
	if len(path) == 0 {
		for _, key := range keys {
			delete(object, key)
		}
		return
	}
	inner, ok := object[path[0]].(map[string]any)
	if !ok {
		return
	}
	without(inner, path[1:], keys...)
	if len(inner) == 0 {
		delete(object, path[0])
	}
}

// Why the spec that a cluster reports is not used.
var errNotAsSent = errors.New("it is not the one that was sent")

// ReadSpec returns what data, gzip'd JSON by which a cluster reports the spec of a remote Workflow, hold. release gives back what it takes
// of the hub's memory; it is never nil. A spec of another digest, be it by the cluster's fault or by its Argo's, comes with an error: so
// nothing gets to the hub that was not sent from there.
func ReadSpec(data []byte, digest string) (spec map[string]any, release func(), err error) {
	raw, release, err := specs.expand(data)
	if err != nil {
		return nil, release, err
	}
	if err := utiljson.Unmarshal(raw, &spec); err != nil {
		return nil, release, fmt.Errorf("JSON: %w", err)
	}
	canonical(spec)
	if IsOtherSpec(SpecDigest(spec), digest) || digest == "" {
		return spec, release, errNotAsSent
	}
	return spec, release, nil
}

// form is how a value stands in JSON that Argo's type of it has, as far as that matters to what is the same.
type form struct {
	kind formKind
	// fields are those of an object that the type has.
	fields map[string]formField
	// element is that of a list or of a dictionary.
	element *form
}

type formKind int

const (
	// verbatim is what the type keeps as it is.
	verbatim formKind = iota
	object
	dictionaryOf
	listOfForms
	// anyText is a text, for which a number or a truth value may stand.
	anyText
	// amount is a quantity of a resource.
	amount
)

// formField is a field of an object. Where there may be none, the type tells that from an empty one.
type formField struct {
	*form
	mayBeNone bool
}

// specForm holds the forms of Argo's types.
type specForm struct {
	spec  *form
	forms map[reflect.Type]*form
}

// specFormOf returns the forms, which never change.
var specFormOf = sync.OnceValue(func() *specForm {
	s := &specForm{forms: map[reflect.Type]*form{
		reflect.TypeFor[resource.Quantity](): {kind: amount},
		reflect.TypeFor[wfv1.AnyString]():    {kind: anyText},
	}}
	steps := &form{kind: listOfForms} // before the steps, which may have some within
	s.forms[reflect.TypeFor[wfv1.ParallelSteps]()] = steps
	steps.element = s.formOf(reflect.TypeFor[wfv1.WorkflowStep]())
	s.spec = s.formOf(reflect.TypeFor[wfv1.WorkflowSpec]())
	return s
})

// formOf returns the form of a type.
func (s *specForm) formOf(typ reflect.Type) *form {
	if typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	if known := s.forms[typ]; known != nil {
		return known
	}
	f := &form{}
	s.forms[typ] = f // before what is in it, which may have one within
	switch {
	case reflect.PointerTo(typ).Implements(unmarshaler), typ.Kind() == reflect.Slice && typ.Elem().Kind() == reflect.Uint8:
	case typ.Kind() == reflect.Slice:
		f.kind, f.element = listOfForms, s.formOf(typ.Elem())
	case typ.Kind() == reflect.Map:
		f.kind, f.element = dictionaryOf, s.formOf(typ.Elem())
	case typ.Kind() == reflect.Struct:
		f.kind, f.fields = object, map[string]formField{}
		s.addFields(f, typ)
	}
	return f
}

// addFields adds the fields that JSON has of a struct, and of those within that have no name.
func (s *specForm) addFields(f *form, typ reflect.Type) {
	for i := range typ.NumField() {
		field := typ.Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case name == "-":
		case name == "" && field.Anonymous:
			inner := field.Type
			if inner.Kind() == reflect.Pointer {
				inner = inner.Elem()
			}
			s.addFields(f, inner)
		case name != "" && field.IsExported():
			f.fields[name] = formField{s.formOf(field.Type), field.Type.Kind() == reflect.Pointer}
		}
	}
}

// of returns a value in its normal form, and whether it is an empty one.
func (s *specForm) of(value any, at *form) (normal any, isEmpty bool) {
	return at.normal(value, true)
}

// onlyKnown is of without the fields that Argo's types do not have.
func (s *specForm) onlyKnown(value any, at *form) (normal any, isEmpty bool) {
	return at.normal(value, false)
}

// normal returns a value in its normal form, with or without unknown fields, and whether it is an empty one.
func (f *form) normal(value any, unknown bool) (normal any, isEmpty bool) {
	switch v := value.(type) {
	case nil:
		return nil, true
	case map[string]any:
		switch f.kind {
		case object:
			return f.normalObject(v, unknown)
		case dictionaryOf:
			out := make(map[string]any, len(v))
			for key, element := range v {
				out[key], _ = f.element.normal(element, unknown)
			}
			return out, len(out) == 0
		}
		return value, false
	case []any:
		if f.kind != listOfForms {
			return value, false
		}
		out := make([]any, len(v))
		for i, element := range v {
			out[i], _ = f.element.normal(element, unknown)
		}
		return out, len(out) == 0
	}
	return f.normalScalar(value)
}

func (f *form) normalObject(from map[string]any, unknown bool) (normal any, isEmpty bool) {
	out := make(map[string]any, len(from))
	for key, value := range from {
		field, isKnown := f.fields[key]
		switch {
		case !isKnown && unknown && value != nil:
			out[key] = value
		case isKnown:
			if inner, isEmpty := field.normal(value, unknown); inner != nil && (!isEmpty || field.mayBeNone) {
				out[key] = inner
			}
		}
	}
	return out, len(out) == 0
}

func (f *form) normalScalar(value any) (normal any, isEmpty bool) {
	switch f.kind {
	case anyText:
		switch v := value.(type) {
		case float64:
			value = strconv.FormatFloat(v, 'f', -1, 64)
		case int64, bool:
			value = fmt.Sprint(v)
		}
		return value, value == ""
	case amount:
		text := fmt.Sprint(value)
		if absurdQuantity.MatchString(text) {
			return value, false
		}
		quantity, err := resource.ParseQuantity(text)
		if err != nil {
			return value, false
		}
		return quantity.String(), quantity.IsZero()
	}
	return value, value == "" || value == false || value == int64(0) || value == float64(0)
}

// RestoredSpec returns the spec that a hub Workflow gets back: the one that was sent, in its normal form, and what may change as the
// Workflow has it. It shares what is below with both.
func RestoredSpec(sent, current map[string]any) map[string]any {
	spec := NormalSpec(sent)
	for _, field := range liveFields {
		if value, ok := current[field]; ok {
			spec[field] = value
		}
	}
	if arguments, _ := current["arguments"].(map[string]any); arguments["parameters"] != nil {
		with := map[string]any{}
		if sent, ok := spec["arguments"].(map[string]any); ok {
			with = sent
		}
		with["parameters"] = arguments["parameters"]
		spec["arguments"] = with
	}
	return runtime.DeepCopyJSON(spec)
}
