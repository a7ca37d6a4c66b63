package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// validity outlasts any instance; the start lies back so that a clock set a little does not matter.
const validity = 365 * 24 * time.Hour

// writePKI writes ca.{crt,key}, apiserver.{crt,key} and sa.{key,pub} to a new directory.
func writePKI(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := newTemplate(pkix.Name{CommonName: "rerail-e2e-ca"})
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	caDER, err := x509.CreateCertificate(rand.Reader, template, template, caKey.Public(), caKey)
	if err != nil {
		return err
	}
	ca, err := x509.ParseCertificate(caDER)
	if err != nil {
		return err
	}
	serving := newTemplate(pkix.Name{CommonName: "kube-apiserver"})
	serving.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	serving.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv4(10, 96, 0, 1)}
	serving.DNSNames = []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"}
	servingCert, servingKey, err := issue(serving, ca, caKey)
	if err != nil {
		return err
	}
	accounts, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	return writeFiles(dir, map[string]func() ([]byte, error){
		"ca.crt":        func() ([]byte, error) { return certificatePEM(caDER), nil },
		"ca.key":        func() ([]byte, error) { return keyPEM(caKey) },
		"apiserver.crt": func() ([]byte, error) { return servingCert, nil },
		"apiserver.key": func() ([]byte, error) { return servingKey, nil },
		"sa.key":        func() ([]byte, error) { return keyPEM(accounts) },
		"sa.pub":        func() ([]byte, error) { return publicPEM(accounts.Public()) },
	})
}

func writeFiles(dir string, files map[string]func() ([]byte, error)) error {
	for name, text := range files {
		data, err := text()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func newTemplate(subject pkix.Name) *x509.Certificate {
	now := time.Now()
	serial, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)) // never fails since Go 1.24
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      subject,
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(validity),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
}

// issue signs a certificate for a new key and returns both as PEM.
func issue(template, ca *x509.Certificate, caKey crypto.Signer) (cert, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca, private.Public(), caKey)
	if err != nil {
		return nil, nil, err
	}
	key, err = keyPEM(private)
	return certificatePEM(der), key, err
}

func certificatePEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func keyPEM(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalECPrivateKey(key)
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), err
}

func publicPEM(key crypto.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), err
}

// kubeconfig is the part of the format that is needed. It is written as JSON, which is YAML too, with everything
// inside, so that the file can be copied anywhere. encoding/json writes []byte as base64, which is what *-data wants.
type kubeconfig struct {
	APIVersion     string           `json:"apiVersion"`
	Kind           string           `json:"kind"`
	CurrentContext string           `json:"current-context"`
	Clusters       []named[cluster] `json:"clusters"`
	Users          []named[user]    `json:"users"`
	Contexts       []named[context] `json:"contexts"`
}

// named is an entry of a kubeconfig list. The format has one key per kind of entry; unused ones are left out.
type named[T any] struct {
	Name    string `json:"name"`
	Cluster *T     `json:"cluster,omitempty"`
	User    *T     `json:"user,omitempty"`
	Context *T     `json:"context,omitempty"`
}

type cluster struct {
	Server string `json:"server"`
	CA     []byte `json:"certificate-authority-data"`
}

type user struct {
	Cert  []byte `json:"client-certificate-data,omitempty"`
	Key   []byte `json:"client-key-data,omitempty"`
	Token string `json:"token,omitempty"`
}

type context struct {
	Cluster string `json:"cluster"`
	User    string `json:"user"`
}

// writeKubeconfig writes a kubeconfig for NAME, known by a certificate signed here or by a token read from stdin.
func writeKubeconfig(pki, url, out, kind, name string, groups []string) error {
	caPEM, err := os.ReadFile(filepath.Join(pki, "ca.crt"))
	if err != nil {
		return err
	}
	var who user
	switch kind {
	case "user":
		who.Cert, who.Key, err = clientCertificate(pki, caPEM, name, groups)
	case "token":
		var token []byte
		token, err = io.ReadAll(os.Stdin)
		who.Token = strings.TrimSpace(string(token))
	default:
		err = fmt.Errorf("unknown kind %q", kind)
	}
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(kubeconfig{
		APIVersion: "v1", Kind: "Config", CurrentContext: "rerail-e2e",
		Clusters: []named[cluster]{{Name: "rerail-e2e", Cluster: &cluster{Server: url, CA: caPEM}}},
		Users:    []named[user]{{Name: name, User: &who}},
		Contexts: []named[context]{{Name: "rerail-e2e", Context: &context{Cluster: "rerail-e2e", User: name}}},
	}, "", "  ")
	if err != nil {
		return err
	}
	// Renamed into place: readers see the whole file or none.
	draft := fmt.Sprintf("%s.%d", out, os.Getpid())
	if err := os.WriteFile(draft, append(text, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(draft, out)
}

func clientCertificate(pki string, caPEM []byte, name string, groups []string) (cert, key []byte, err error) {
	ca, err := parsePEM(caPEM, x509.ParseCertificate)
	if err != nil {
		return nil, nil, err
	}
	caKeyPEM, err := os.ReadFile(filepath.Join(pki, "ca.key"))
	if err != nil {
		return nil, nil, err
	}
	caKey, err := parsePEM(caKeyPEM, x509.ParseECPrivateKey)
	if err != nil {
		return nil, nil, err
	}
	template := newTemplate(pkix.Name{CommonName: name, Organization: groups})
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	return issue(template, ca, caKey)
}

func parsePEM[T any](text []byte, parse func([]byte) (T, error)) (T, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		var none T
		return none, fmt.Errorf("not a PEM file")
	}
	return parse(block.Bytes)
}
