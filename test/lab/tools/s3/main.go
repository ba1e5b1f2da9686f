// Command s3 is an object store for a lab: one bucket that speaks S3, in memory, to whoever signs with its keys.
package main

import (
	"context"
	"crypto/subtle"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	signer "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		log.Fatal(err)
	}
}

// run serves until the context ends.
func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("s3", flag.ContinueOnError)
	listen := flags.String("listen", "127.0.0.1:0", "address to listen at")
	bucket := flags.String("bucket", "", "name of the bucket")
	var keys aws.Credentials
	flags.StringVar(&keys.AccessKeyID, "access-key", "", "access key")
	flags.StringVar(&keys.SecretAccessKey, "secret-key", "", "secret key")
	if err := flags.Parse(args); err != nil {
		return err
	}
	store, err := newStore(*bucket, keys)
	if err != nil {
		return err
	}
	server := &http.Server{Addr: *listen, Handler: store, ReadHeaderTimeout: time.Minute}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// newStore returns the store with its bucket. It answers only requests that are signed with the keys.
func newStore(bucket string, keys aws.Credentials) (http.Handler, error) {
	backend := s3mem.New()
	if err := backend.CreateBucket(bucket); err != nil {
		return nil, fmt.Errorf("bucket %q: %w", bucket, err)
	}
	objects := gofakes3.New(backend, gofakes3.WithGlobalLog()).Server()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := verify(r, keys); err != nil {
			log.Printf("refused: %s %s: %v", r.Method, r.URL.Path, err)
			w.Header().Set("Content-Type", "application/xml")
			w.WriteHeader(http.StatusForbidden)
			if r.Method != http.MethodHead {
				_, _ = fmt.Fprintf(w, "<Error><Code>AccessDenied</Code><Message>%v</Message></Error>", err)
			}
			return
		}
		if err := unwrap(r); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		objects.ServeHTTP(w, r)
	}), nil
}

// unwrap takes the signatures of chunks out of a body, which the library does not do in a part of an upload, and says how long it
// is without them.
func unwrap(r *http.Request) (err error) {
	const payload, length = "X-Amz-Content-Sha256", "X-Amz-Decoded-Content-Length"
	if !strings.HasPrefix(r.Header.Get(payload), "STREAMING-") {
		return nil
	}
	if r.ContentLength, err = strconv.ParseInt(r.Header.Get(length), 10, 64); err != nil {
		return fmt.Errorf("length of the body: %w", err)
	}
	// The form is that of HTTP's own chunks, with the signature as an extension.
	r.Body = struct {
		io.Reader
		io.Closer
	}{httputil.NewChunkedReader(r.Body), r.Body}
	r.Header.Set("Content-Length", r.Header.Get(length))
	r.Header.Del(payload)
	r.Header.Del(length)
	return nil
}

// authorization is the header of that name: whose key signs, for when and where, which headers, and the signature.
var authorization = regexp.MustCompile(
	`^AWS4-HMAC-SHA256 Credential=[^/,]+/\d+/([^/,]+)/s3/aws4_request, ?SignedHeaders=([^,]+), ?Signature=[0-9a-f]{64}$`)

const timeFormat = "20060102T150405Z"

// verify returns an error unless the request is what it would be if these keys had signed it. The signature of the body, which is
// one for each chunk, is not looked at.
func verify(r *http.Request, keys aws.Credentials) error {
	got := r.Header.Get("Authorization")
	parts := authorization.FindStringSubmatch(got)
	if parts == nil {
		return errors.New("the request is not signed")
	}
	date, err := time.Parse(timeFormat, r.Header.Get("X-Amz-Date"))
	if err != nil {
		return errors.New("the request has no date")
	}
	signed := r.Clone(r.Context())
	signed.Header, signed.ContentLength = http.Header{}, 0
	names := strings.Split(parts[2], ";")
	for name, values := range r.Header {
		if slices.Contains(names, strings.ToLower(name)) {
			signed.Header[name] = values
		}
	}
	if slices.Contains(names, "content-length") {
		signed.ContentLength = r.ContentLength
	}
	as := signer.NewSigner(func(o *signer.SignerOptions) { o.DisableURIPathEscaping = true })
	payload := r.Header.Get("X-Amz-Content-Sha256")
	if err := as.SignHTTP(r.Context(), keys, signed, payload, "s3", parts[1], date); err != nil {
		return err
	}
	want := strings.ReplaceAll(signed.Header.Get("Authorization"), " ", "")
	if subtle.ConstantTimeCompare([]byte(strings.ReplaceAll(got, " ", "")), []byte(want)) == 0 {
		return errors.New("the signature is not that of the keys")
	}
	return nil
}
