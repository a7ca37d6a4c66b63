package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"
)

// wait polls until a GET answers 200. With a kubeconfig (one that this program wrote) the path is on that API server.
func wait(kubeconfigFile, url, timeout string) error {
	limit, err := time.ParseDuration(timeout)
	if err != nil {
		return err
	}
	client := &http.Client{Timeout: min(limit, 5*time.Second)}
	if kubeconfigFile != "-" {
		server, transport, err := readKubeconfig(kubeconfigFile)
		if err != nil {
			return err
		}
		url, client.Transport = strings.TrimSuffix(server, "/")+url, transport
	}
	deadline := time.Now().Add(limit)
	for {
		err := get(client, url)
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("GET %s did not answer 200 within %s: %w", url, limit, err)
		}
		time.Sleep(25 * time.Millisecond)
	}
}

func get(client *http.Client, url string) error {
	response, err := client.Get(url)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("status %s", response.Status)
	}
	return nil
}

func readKubeconfig(file string) (server string, transport *http.Transport, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", nil, err
	}
	var config kubeconfig
	if err := json.Unmarshal(text, &config); err != nil {
		return "", nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(config.Clusters) != 1 || len(config.Users) != 1 {
		return "", nil, fmt.Errorf("%s: want one cluster and one user", file)
	}
	at, who := config.Clusters[0].Cluster, config.Users[0].User
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(at.CA)
	pair, err := tls.X509KeyPair(who.Cert, who.Key)
	if err != nil {
		return "", nil, fmt.Errorf("%s: %w", file, err)
	}
	options := &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}}
	return at.Server, &http.Transport{TLSClientConfig: options}, nil
}
