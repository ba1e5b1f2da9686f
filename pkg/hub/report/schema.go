package report

import (
	"encoding/json"
	"reflect"
	"strings"
	"sync"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// place says what is at one place of a JSON value, as Argo's Go types tell. So no word of a user's (a node's id, a template's or a
// parameter's name, a label's key) is taken for a field, whatever it is.
type place struct {
	kind kind
	// fields are those of an object that Argo knows, by name.
	fields map[string]*place
	// element is what a list or a dictionary consists of, and what any other field of an object is taken for.
	element *place
}

type kind int

const (
	// An object, which has fields, is the zero value.
	_ kind = iota
	// dictionary is an object whose keys are a user's words.
	dictionary
	list
	// words are JSON in which everything is a user's.
	words
	// quantity is one of a resource.
	quantity
	// location says where an artifact lies, or several: each field of it that is an object is one of a storage driver, so that those of newer
	// versions of Argo are covered, but for content.
	location
	// content, in a location, is an object that says nothing of where the artifact lies.
	content
	// reference says where Argo looks up where artifacts lie that have no more than a key.
	reference
)

var kindsOfTypes = map[reflect.Type]kind{
	reflect.TypeFor[wfv1.Artifact]():                    location,
	reflect.TypeFor[wfv1.ArtifactLocation]():            location,
	reflect.TypeFor[wfv1.ArtifactPaths]():               location,
	reflect.TypeFor[wfv1.ArtifactRepository]():          location,
	reflect.TypeFor[wfv1.ArchiveStrategy]():             content,
	reflect.TypeFor[wfv1.ArtifactGC]():                  content,
	reflect.TypeFor[wfv1.RawArtifact]():                 content,
	reflect.TypeFor[wfv1.ArtifactRepositoryRefStatus](): reference,
}

// schema holds the places of Argo's types.
type schema struct {
	status, nodes, node, spec, reference *place

	// unknown is the place of a field that no known version of Argo has, and whatever is in it: there, names have to tell what is what.
	unknown *place
	// quantities are a quantity, or several by name.
	quantities *place
	words      *place
	places     map[reflect.Type]*place
}

// schemaOf returns the schema, which never changes.
var schemaOf = sync.OnceValue(func() *schema {
	s := &schema{
		unknown: &place{fields: map[string]*place{}}, quantities: &place{kind: quantity}, words: &place{kind: words},
		places: map[reflect.Type]*place{},
	}
	s.unknown.element, s.quantities.element, s.words.element = s.unknown, s.quantities, s.words
	s.places[reflect.TypeFor[resource.Quantity]()] = s.quantities
	steps := &place{kind: list}
	s.places[reflect.TypeFor[wfv1.ParallelSteps]()] = steps // before the steps, which may have some within
	steps.element = s.of(reflect.TypeFor[wfv1.WorkflowStep]())
	s.status = s.of(reflect.TypeFor[wfv1.WorkflowStatus]())
	s.nodes = s.of(reflect.TypeFor[wfv1.Nodes]())
	s.node = s.of(reflect.TypeFor[wfv1.NodeStatus]())
	s.spec = s.of(reflect.TypeFor[wfv1.WorkflowSpec]())
	s.reference = s.of(reflect.TypeFor[wfv1.ArtifactRepositoryRefStatus]())
	s.learnNames()
	return s
})

var unmarshaler = reflect.TypeFor[json.Unmarshaler]()

// of returns the place of a value of the type.
func (s *schema) of(typ reflect.Type) *place {
	if typ.Kind() == reflect.Pointer {
		return s.of(typ.Elem())
	}
	if known := s.places[typ]; known != nil {
		return known
	}
	if reflect.PointerTo(typ).Implements(unmarshaler) {
		return s.words
	}
	p := &place{}
	switch typ.Kind() {
	case reflect.Slice, reflect.Array:
		s.places[typ] = p // before its element, which may have one within
		p.kind, p.element = list, s.of(typ.Elem())
	case reflect.Map:
		s.places[typ] = p
		p.kind, p.element = dictionary, s.of(typ.Elem())
	case reflect.Struct:
		s.places[typ] = p
		p.kind, p.fields, p.element = kindsOfTypes[typ], map[string]*place{}, s.unknown
		s.addFields(p, typ)
	default:
		return s.unknown // nothing is in it, or what is unknown
	}
	return p
}

// addFields adds the fields that JSON has of a struct. Those of structs within that have no name are its own, but for those that it
// has itself.
func (s *schema) addFields(p *place, typ reflect.Type) {
	var inlined []reflect.Type
	for i := range typ.NumField() {
		field := typ.Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case name == "-":
		case name == "" && field.Anonymous:
			inlined = append(inlined, field.Type)
		case !field.IsExported():
		default:
			if name == "" {
				name = field.Name
			}
			if p.fields[name] == nil {
				p.fields[name] = s.of(field.Type)
			}
		}
	}
	for _, typ := range inlined {
		if typ.Kind() == reflect.Pointer {
			typ = typ.Elem()
		}
		s.addFields(p, typ)
	}
}

// learnNames has the unknown told by the names that Argo's fields have anywhere.
func (s *schema) learnNames() {
	for _, p := range s.places {
		for name, field := range p.fields {
			for field.kind == list || field.kind == dictionary {
				field = field.element
			}
			switch field.kind {
			case location:
				s.unknown.fields[name] = s.of(reflect.TypeFor[wfv1.Artifact]())
			case quantity:
				s.unknown.fields[name] = s.quantities
			}
		}
	}
}

// at returns the place below a key. Fields match in any case: Argo unpacks compressedNodes with a decoder to which "Artifacts" is as
// good as "artifacts".
func (p *place) at(key string) *place {
	if field := p.fields[key]; field != nil {
		return field
	}
	for name, field := range p.fields {
		if strings.EqualFold(name, key) {
			return field
		}
	}
	if p.fields == nil || p.element == p {
		return p.element
	}
	return p.element.at(key)
}

// visitor is called for what a walk finds.
type visitor struct {
	// quantity is called for each value that is read as a quantity of a resource.
	quantity func(value any)
	// store is called for each storage driver's part of a location.
	store func(driver string, location map[string]any)
	// reference is called for each reference to where artifacts lie, after what is in it.
	reference func(ref map[string]any)
}

// walk visits all that is in the value at this place. A list where Argo has none, or an object where it has a list, hides nothing.
func (p *place) walk(value any, visit visitor) {
	switch v := value.(type) {
	case []any:
		if p.kind == list {
			p = p.element
		}
		for _, item := range v {
			p.walk(item, visit)
		}
	case map[string]any:
		p.walkObject(v, visit)
	default:
		if p.kind == quantity && visit.quantity != nil {
			visit.quantity(v)
		}
	}
}

func (p *place) walkObject(object map[string]any, visit visitor) {
	for p.kind == list {
		p = p.element
	}
	if p.kind == words {
		return
	}
	for key, field := range object {
		inner := p.at(key)
		store, ok := field.(map[string]any)
		switch {
		case !ok || p.kind != location || inner.kind == content:
			inner.walk(field, visit)
		case visit.store != nil:
			visit.store(key, store)
		}
	}
	if p.kind == reference && visit.reference != nil {
		visit.reference(object)
	}
}
