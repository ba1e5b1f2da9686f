package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
)

// checkForm returns an error if Argo's clients would fail to read a value as the type of Argo's that as points to, and that is at this
// place, or what Argo's server passes on of it. One such Workflow makes them fail to list all others with it. Fields that the type does
// not know are no error, to them as to us.
func checkForm(value any, at *place, as any) error {
	if err := checkQuantities(value, at); err != nil {
		return err
	}
	for range 2 {
		raw, err := encode(value)
		if err != nil {
			return err
		}
		if err := json.Unmarshal(raw, as); err != nil {
			return err
		}
		value = as
	}
	return nil
}

// encode returns a value as JSON, without the escapes for HTML: they would make six bytes of one.
func encode(value any) ([]byte, error) {
	var raw bytes.Buffer
	encoder := json.NewEncoder(&raw)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(value)
	return raw.Bytes(), err
}

// absurdQuantity matches numbers of more digits, or with a larger exponent, than any quantity has.
var absurdQuantity = regexp.MustCompile(`^[+-]?[0-9.]*([0-9.]{64}|[eE][+-]?[0-9]{4})`)

// checkQuantities returns an error if a value holds a quantity of a resource with which a reader would be busy for hours: Kubernetes
// works with all the digits of 1e-2000000000.
func checkQuantities(value any, at *place) error {
	var err error
	at.walk(value, visitor{quantity: func(quantity any) {
		if text, ok := quantity.(string); ok && absurdQuantity.MatchString(strings.TrimSpace(text)) {
			err = fmt.Errorf("absurd quantity %.64q", text)
		}
	}})
	return err
}
