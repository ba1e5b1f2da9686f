package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
)

// Journal is the file that pods of a lab for chaos append to, out of reach of everything but themselves: real ones mount its
// folder, simulated ones have podrunner.AnnotationJournal.
func (l *Lab) Journal() string { return filepath.Join(l.dir(), "journal", "journal") }

// Version is one state of an object in etcd.
type Version struct {
	// Key is the object's path in etcd: /registry/<group>/<resource>/<namespace>/<name>.
	Key string
	// Value is the object as it was stored; nil if it was removed.
	Value []byte
	// Revision is etcd's, in the order of which all changes were made.
	Revision int64
}

// History returns all states that the objects of a resource, as "<group>/<resource>", have ever had, in their order. It is
// read from etcd itself, and complete only in a lab for chaos: else etcd forgets what is older than some minutes.
func (c *Cluster) History(ctx context.Context, resource string) ([]Version, error) {
	prefix := "/registry/" + resource + "/"
	// What etcd has to say is at its end when it has said this. The key lies behind those of the resource, where the API
	// server does not look.
	end := "/registry/" + resource + "0"
	var marked struct {
		Header struct {
			Revision int64 `json:"revision,string"`
		} `json:"header"`
	}
	put := map[string]any{"key": []byte(end), "value": []byte("end")}
	if err := c.etcdCall(ctx, "kv/put", put, func(answer *json.Decoder) error { return answer.Decode(&marked) }); err != nil {
		return nil, err
	}
	watch := map[string]any{"create_request": map[string]any{
		"key": []byte(prefix), "range_end": []byte(end + "0"), "start_revision": "1",
	}}
	var versions []Version
	err := c.etcdCall(ctx, "watch", watch, func(answers *json.Decoder) error {
		for {
			events, err := readEvents(answers)
			if err != nil {
				return err
			}
			for _, version := range events {
				switch {
				case version.Key != end:
					versions = append(versions, version)
				case version.Revision == marked.Header.Revision:
					return nil
				}
			}
		}
	})
	return versions, err
}

// readEvents returns what the next answer to a watch holds.
func readEvents(answers *json.Decoder) ([]Version, error) {
	var answer struct {
		Result struct {
			Canceled     bool   `json:"canceled"`
			CancelReason string `json:"cancel_reason"`
			Events       []struct {
				Type string `json:"type"`
				KV   struct {
					Key      []byte `json:"key"`
					Value    []byte `json:"value"`
					Revision int64  `json:"mod_revision,string"`
				} `json:"kv"`
			} `json:"events"`
		} `json:"result"`
	}
	if err := answers.Decode(&answer); err != nil {
		return nil, err
	}
	if answer.Result.Canceled {
		return nil, errors.New(answer.Result.CancelReason)
	}
	var versions []Version
	for _, event := range answer.Result.Events {
		version := Version{Key: string(event.KV.Key), Value: event.KV.Value, Revision: event.KV.Revision}
		if event.Type == "DELETE" {
			version.Value = nil
		}
		versions = append(versions, version)
	}
	return versions, nil
}

// etcdCall sends a request to etcd's gateway for JSON, and hands the answers over.
func (c *Cluster) etcdCall(ctx context.Context, method string, body any, read func(*json.Decoder) error) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	url := "http://" + loopback(c.ports[portEtcd]) + "/v3/" + method
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(raw))
	if err != nil {
		return err
	}
	httpClient := &http.Client{Transport: &http.Transport{DialContext: c.dial, DisableKeepAlives: true}}
	response, err := httpClient.Do(request)
	if err != nil {
		return fmt.Errorf("etcd of %s: %w", c.Name, err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("etcd of %s: %s answers %s", c.Name, method, response.Status)
	}
	if err := read(json.NewDecoder(response.Body)); err != nil {
		return fmt.Errorf("etcd of %s: %s: %w", c.Name, method, err)
	}
	return nil
}
