package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// serve starts a store with a bucket "artifacts" for the keys "lab" and "secret", and returns its address.
func serve(t *testing.T) string {
	t.Helper()
	store, err := newStore("artifacts", aws.Credentials{AccessKeyID: "lab", SecretAccessKey: "secret"})
	require.NoError(t, err)
	server := httptest.NewServer(store)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// connect returns a client as Argo makes it.
func connect(t *testing.T, endpoint, accessKey, secretKey string) *minio.Client {
	t.Helper()
	client, err := minio.New(endpoint, &minio.Options{Creds: credentials.NewStaticV4(accessKey, secretKey, "")})
	require.NoError(t, err)
	return client
}

// read returns an object.
func read(t *testing.T, client *minio.Client, key string) ([]byte, error) {
	t.Helper()
	object, err := client.GetObject(t.Context(), "artifacts", key, minio.GetObjectOptions{})
	require.NoError(t, err)
	defer func() { _ = object.Close() }()
	return io.ReadAll(object)
}

func TestArgosClientReadsWhatItHasWritten(t *testing.T) {
	client := connect(t, serve(t), "lab", "secret")
	for name, size := range map[string]int{
		"nothing": 0, "little": 10, "more than a chunk of the signature": 200_000, "more than a part of an upload": 40 << 20,
	} {
		t.Run(name, func(t *testing.T) {
			want := bytes.Repeat([]byte{0, 255, 'x', '\r', '\n'}, (size+4)/5)[:size]
			key := "default/a Workflow+1/" + strings.ReplaceAll(name, " ", "-") + ".bin"
			_, err := client.PutObject(t.Context(), "artifacts", key, bytes.NewReader(want), int64(size), minio.PutObjectOptions{})
			require.NoError(t, err)
			got, err := read(t, client, key)
			require.NoError(t, err)
			assert.True(t, bytes.Equal(want, got), "%d bytes", len(got))
		})
	}
}

func TestFoldersAreListedAndObjectsRemoved(t *testing.T) {
	client := connect(t, serve(t), "lab", "secret")
	for _, key := range []string{"folder/a", "folder/b/c", "folder2"} {
		_, err := client.PutObject(t.Context(), "artifacts", key, strings.NewReader(key), int64(len(key)), minio.PutObjectOptions{})
		require.NoError(t, err)
	}
	_, err := read(t, client, "folder")
	require.Error(t, err)
	assert.Equal(t, "NoSuchKey", minio.ToErrorResponse(err).Code, "that is how Argo tells a folder from a file")
	require.NoError(t, client.RemoveObject(t.Context(), "artifacts", "folder/a", minio.RemoveObjectOptions{}))
	var keys []string
	for object := range client.ListObjects(t.Context(), "artifacts", minio.ListObjectsOptions{Prefix: "folder/", Recursive: true}) {
		require.NoError(t, object.Err)
		keys = append(keys, object.Key)
	}
	assert.Equal(t, []string{"folder/b/c"}, keys)
}

func TestNobodyIsAnsweredWithoutTheKeys(t *testing.T) {
	endpoint := serve(t)
	for name, keys := range map[string][2]string{
		"another access key": {"other", "secret"}, "another secret key": {"lab", "other"}, "no keys": {"", ""},
	} {
		t.Run(name, func(t *testing.T) {
			client := connect(t, endpoint, keys[0], keys[1])
			_, err := client.PutObject(t.Context(), "artifacts", "key", strings.NewReader("x"), 1, minio.PutObjectOptions{})
			assert.Equal(t, "AccessDenied", minio.ToErrorResponse(err).Code, "%v", err)
			_, err = read(t, client, "key")
			assert.Equal(t, "AccessDenied", minio.ToErrorResponse(err).Code, "%v", err)
		})
	}
	response, err := http.Get("http://" + endpoint + "/artifacts/key")
	require.NoError(t, err)
	assert.NoError(t, response.Body.Close())
	assert.Equal(t, http.StatusForbidden, response.StatusCode)
}
