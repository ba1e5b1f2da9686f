package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// Toxiproxy is the program, and the process, that all ways to API servers lead through which a test can disturb. When it begins, it
// disturbs none.
const Toxiproxy = "toxiproxy"

// Link is a way to an API server that a test can disturb.
type Link string

const (
	// LinkHub is the way of everything on a managed cluster to the hub's API server.
	LinkHub Link = "hub"
	// LinkOwn is the way of the manager, an agent and OCM's agent to their own cluster's API server.
	LinkOwn Link = "own"
)

// Disturbance is what becomes of the connections over a link, those that are open included.
type Disturbance string

const (
	// Refuse closes connections and takes no new ones.
	Refuse Disturbance = "refuse"
	// Reset resets connections as soon as something is sent.
	Reset Disturbance = "reset"
	// DropRequests lets nothing through to the API server, and leaves connections open.
	DropRequests Disturbance = "drop-requests"
	// DropAnswers lets requests through, which take effect, and no answer back.
	DropAnswers Disturbance = "drop-answers"
	// CutAnswers closes each connection when it has carried a few kilobytes of answers, in the midst of one.
	CutAnswers Disturbance = "cut-answers"
	// Delay holds up what is sent either way.
	Delay Disturbance = "delay"
)

// toxic is a disturbance in toxiproxy's words.
type toxic struct {
	Name       string         `json:"name"`
	Type       string         `json:"type"`
	Stream     string         `json:"stream"`
	Attributes map[string]int `json:"attributes"`
}

var toxics = map[Disturbance]toxic{
	Reset:        {Type: "reset_peer", Stream: "upstream"},
	DropRequests: {Type: "timeout", Stream: "upstream"},
	DropAnswers:  {Type: "timeout", Stream: "downstream"},
	CutAnswers:   {Type: "limit_data", Stream: "downstream", Attributes: map[string]int{"bytes": 8 << 10}},
	Delay:        {Type: "latency", Stream: "downstream", Attributes: map[string]int{"latency": 400, "jitter": 300}},
}

const toxicName = "disturbance"

// linkedServer is the URL at which the cluster's components reach its API server.
func (c *Cluster) linkedServer() string {
	if c.lab.opts.Chaos {
		return "https://" + loopback(c.ports[portOwnLink])
	}
	return c.server()
}

// startToxiproxy opens the cluster's links.
func (c *Cluster) startToxiproxy(ctx context.Context) error {
	if !c.lab.opts.Chaos {
		return nil
	}
	type proxy struct {
		Name     Link   `json:"name"`
		Listen   string `json:"listen"`
		Upstream string `json:"upstream"`
		Enabled  bool   `json:"enabled"`
	}
	proxies := []proxy{{LinkOwn, loopback(c.ports[portOwnLink]), loopback(c.ports[portAPIServer]), true}}
	if !c.IsHub() {
		hub := loopback(c.lab.Hub().ports[portAPIServer])
		if c.real() {
			hub = strings.Replace(hub, "127.0.0.1", c.lab.Hub().site().NodeIP(), 1)
		}
		proxies = append(proxies, proxy{LinkHub, loopback(c.ports[portHubLink]), hub, true})
	}
	config := c.path("toxiproxy.json")
	if err := writeJSON(config, proxies); err != nil {
		return err
	}
	return c.Start(ctx, Process{
		Name:  Toxiproxy,
		Path:  c.lab.binary(Toxiproxy),
		Args:  []string{"-host=127.0.0.1", fmt.Sprintf("-port=%d", c.ports[portToxiproxy]), "-config=" + config},
		Ready: c.httpOK(c.toxiproxyURL("proxies", string(LinkOwn))),
	})
}

func (c *Cluster) toxiproxyURL(path ...string) string {
	return "http://" + loopback(c.ports[portToxiproxy]) + "/" + strings.Join(path, "/")
}

// Disturb disturbs a link until Mend is called. It needs a lab for chaos.
func (c *Cluster) Disturb(ctx context.Context, link Link, how Disturbance) error {
	if how == Refuse {
		return c.setEnabled(ctx, link, false)
	}
	added := toxics[how]
	added.Name = toxicName
	return c.toxiproxy(ctx, http.MethodPost, c.toxiproxyURL("proxies", string(link), "toxics"), added)
}

// Mend undoes what Disturb did to a link.
func (c *Cluster) Mend(ctx context.Context, link Link) error {
	err := c.toxiproxy(ctx, http.MethodDelete, c.toxiproxyURL("proxies", string(link), "toxics", toxicName), nil)
	if errors.Is(err, errNoToxic) {
		err = nil
	}
	return errors.Join(err, c.setEnabled(ctx, link, true))
}

func (c *Cluster) setEnabled(ctx context.Context, link Link, enabled bool) error {
	return c.toxiproxy(ctx, http.MethodPost, c.toxiproxyURL("proxies", string(link)), map[string]bool{"enabled": enabled})
}

var errNoToxic = errors.New("the link is not disturbed")

// toxiproxy sends a request to the cluster's toxiproxy.
func (c *Cluster) toxiproxy(ctx context.Context, method, url string, body any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(raw))
	if err != nil {
		return err
	}
	httpClient := &http.Client{
		Timeout:   10 * time.Second,
		Transport: &http.Transport{DialContext: c.dial, DisableKeepAlives: true},
	}
	response, err := httpClient.Do(request)
	if err != nil {
		return fmt.Errorf("toxiproxy of %s: %w", c.Name, err)
	}
	defer func() { _ = response.Body.Close() }()
	switch {
	case response.StatusCode == http.StatusNotFound && method == http.MethodDelete:
		return errNoToxic
	case response.StatusCode >= http.StatusMultipleChoices:
		answer, _ := io.ReadAll(io.LimitReader(response.Body, 1024))
		return fmt.Errorf("toxiproxy of %s: %s: %s", c.Name, response.Status, answer)
	}
	return nil
}
