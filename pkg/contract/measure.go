package contract

import (
	"errors"
	"fmt"
	"io"
)

// MaxJSONDepth bounds how deep JSON is nested, Argo's some twenty levels. No decoder takes more than 10,000, and whoever lists
// Workflows meets the status some levels deeper.
const MaxJSONDepth = 256

// Why JSON is not decoded.
var (
	ErrTooLarge = errors.New("it expands beyond the limit")
	ErrTooDeep  = fmt.Errorf("it is nested more than %d levels deep", MaxJSONDepth)
)

// JSONSize is the size of the JSON text that is written to it. The text is kept below its bounds: decoded, the three bytes of an empty
// object take thirty times as much.
type JSONSize struct {
	MaxBytes, MaxValues int64

	Bytes int64
	// Values are those of the text: each is the first of its list or object, or follows a comma. There may be as many fewer as there are
	// empty lists and objects. What stands in a text's strings does not count.
	Values int64

	depth            int
	text, escapeNext bool
}

// MeasureJSON reads all there is and returns how large it is, without keeping any of it. The error is ErrTooLarge or ErrTooDeep if it
// is more than it may be.
func MeasureJSON(reader io.Reader, maxBytes, maxValues int64) (JSONSize, error) {
	measured := JSONSize{MaxBytes: maxBytes, MaxValues: maxValues}
	_, err := io.Copy(&measured, reader)
	switch {
	case errors.Is(err, ErrTooLarge) || errors.Is(err, ErrTooDeep):
		return JSONSize{}, err
	case err != nil:
		return JSONSize{}, fmt.Errorf("gzip: %w", err)
	}
	return measured, nil
}

// Write counts what is in some more of the text, until that is more than it may be.
func (s *JSONSize) Write(some []byte) (int, error) {
	s.Bytes += int64(len(some))
	for _, c := range some {
		switch {
		case s.escapeNext:
			s.escapeNext = false
		case s.text:
			s.escapeNext = c == '\\'
			s.text = c != '"'
		case c == '"':
			s.text = true
		case c == ',':
			s.Values++
		case c == '{' || c == '[':
			s.Values++
			s.depth++
			if s.depth > MaxJSONDepth {
				return 0, ErrTooDeep
			}
		case c == '}' || c == ']':
			s.depth--
		}
	}
	if s.Bytes > s.MaxBytes || s.Values > s.MaxValues {
		return 0, ErrTooLarge
	}
	return len(some), nil
}
