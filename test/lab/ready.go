package lab

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// httpOK returns a check that a URL in the cluster's network answers 200. The server is one that the lab has just started on this
// machine, and some sign their certificate themselves: it is not verified.
func (c *Cluster) httpOK(url string, certificates ...tls.Certificate) func(context.Context) error {
	httpClient := &http.Client{
		Timeout: 5 * time.Second,
		Transport: &http.Transport{
			DialContext:       c.dial,
			DisableKeepAlives: true,
			TLSClientConfig:   &tls.Config{InsecureSkipVerify: true, Certificates: certificates}, //nolint:gosec // see above
		},
	}
	return func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		response, err := httpClient.Do(request)
		if err != nil {
			return err
		}
		defer func() { _ = response.Body.Close() }()
		if response.StatusCode == http.StatusOK {
			return nil
		}
		body, _ := io.ReadAll(io.LimitReader(response.Body, 2048))
		return fmt.Errorf("%s answers %s: %s", url, response.Status, strings.TrimSpace(string(body)))
	}
}

// accepts returns a check that a server accepts TCP connections at the address.
func accepts(address string) func(context.Context) error {
	return dials((&net.Dialer{}).DialContext, address)
}

// accepts returns a check that a server in the cluster's network accepts TCP connections at the address.
func (c *Cluster) accepts(address string) func(context.Context) error { return dials(c.dial, address) }

func dials(dial Dialer, address string) func(context.Context) error {
	return func(ctx context.Context) error {
		conn, err := dial(ctx, "tcp", address)
		if err != nil {
			return err
		}
		return conn.Close()
	}
}

// logSays returns a check that the process wrote the text to its log since it was started: for programs that serve no
// health check on a port of one's choice.
func (c *Cluster) logSays(process, text string) func(context.Context) error {
	return func(context.Context) error {
		rec, err := c.readRecord(process)
		if err != nil {
			return err
		}
		raw, err := os.ReadFile(c.LogPath(process))
		if err != nil {
			return err
		}
		if since := min(rec.LogOffset, int64(len(raw))); !strings.Contains(string(raw[since:]), text) {
			return fmt.Errorf("%q is not in its log", text)
		}
		return nil
	}
}

// poll asks until it gets no error; what it waits for announces itself nowhere, or only to a watch that is
// longer than this.
func poll(ctx context.Context, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for {
		err := ask(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-time.After(pollInterval):
		}
	}
}
