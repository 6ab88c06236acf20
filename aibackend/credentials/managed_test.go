package credentials

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Two backends, one identity provider down: the other does not notice, and the
// one with it uses its token to the end.
func TestFailingProviderHurtsOnlyItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.entra(entraHost, 3600)
		w.sts(time.Hour)
		az := w.open(azureConfig(Azure{TenantID: "tenant-1", ClientID: "c", ClientSecret: ptr(secretRef("az", "s"))}))
		aws := w.open(awsConfig(AWS{Region: "eu-west-1", Static: static("AKIA1", "s"), AssumeRole: []AWSRole{{RoleARN: testRole}}}))
		w.setSecret("az", "s", "one")
		for _, c := range []Credential{az, aws} {
			go c.Run(t.Context())
			defer c.Close()
		}
		time.Sleep(time.Minute)
		wantStatus(t, az, true, ReasonReady)

		w.handle(entraHost, func(rw http.ResponseWriter, r *http.Request) {
			<-r.Context().Done() // hangs
		})
		time.Sleep(52 * time.Minute)
		wantHeaders(t, az, headers{"authorization": "Bearer entra1"})
		if s := wantStatus(t, az, true, ReasonRefreshFailing); !strings.Contains(s.Message, "in time") {
			t.Errorf("message %q", s.Message)
		}
		wantStatus(t, aws, true, ReasonReady)
		wantSigned(t, aws, "ASIA2", "secret2", "token2", "eu-west-1")

		time.Sleep(10 * time.Minute)
		wantStatus(t, az, false, ReasonTokenRequestFailed)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		r := request()
		at := time.Now()
		if err := az.Sign(ctx, r); err == nil || r.Headers.Get("authorization") != "" || time.Since(at) > time.Second {
			t.Errorf("after the token's end: %v after %v", err, time.Since(at))
		}
		w.entra(entraHost, 3600)
		time.Sleep(3 * time.Minute)
		wantStatus(t, az, true, ReasonReady)

		// Deleting the secret withdraws the token that was made with it.
		w.deleteSecret("az")
		time.Sleep(11 * time.Second)
		wantError(t, az, ReasonSecretNotFound)
		wantStatus(t, aws, true, ReasonReady)
		for _, line := range []string{"credential is ready", "reason=RefreshFailing", "reason=TokenRequestFailed", "reason=SecretNotFound"} {
			if !strings.Contains(w.logged(), line) {
				t.Errorf("the log lacks %q:\n%s", line, w.logged())
			}
		}
	})
}

func TestReloadEndsBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.open(azureConfig(Azure{TenantID: "tenant-1", ClientID: "c", ClientSecret: ptr(literal("s"))}))
		wantError(t, c, ReasonTokenRequestFailed)
		w.entra(entraHost, 3600)
		wantError(t, c, ReasonTokenRequestFailed) // rests
		c.Reload()
		wantHeaders(t, c, headers{"authorization": "Bearer entra1"})
		c.Reload()
		synctest.Wait()
		wantHeaders(t, c, headers{"authorization": "Bearer entra1"})
	})
}

func TestConcurrentCredential(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.sts(20 * time.Second)
		w.setSecret("aws", "k", "one")
		a := static("AKIA1", "")
		a.SecretAccessKey = secretRef("aws", "k")
		c := w.open(awsConfig(AWS{Region: "eu-west-1", Static: a, AssumeRole: []AWSRole{{RoleARN: testRole}}}))
		go c.Run(t.Context())
		var wg sync.WaitGroup
		for k := range 8 {
			wg.Go(func() {
				for i := range 100 {
					if err := c.Sign(t.Context(), request()); err != nil {
						t.Error(err)
					}
					switch k {
					case 0:
						w.setSecret("aws", "k", strings.Repeat("x", i%7+1))
						c.Reload()
					case 1:
						c.Status()
					}
					time.Sleep(time.Second)
				}
			})
		}
		wg.Wait()
		c.Close()
	})
}

func BenchmarkSignAWS220KB(b *testing.B) {
	c, err := New(b.Context(), awsConfig(AWS{Static: static("AKIA1", "s")}), Deps{})
	if err != nil {
		b.Fatal(err)
	}
	r := &Request{Method: "POST", Host: "bedrock-runtime.eu-west-1.amazonaws.com", Path: "/model/anthropic.claude-v2%3A1/converse",
		Headers: headers{"content-type": "application/json"}, Body: []byte(strings.Repeat("x", 220<<10))}
	b.ReportAllocs()
	b.SetBytes(int64(len(r.Body)))
	for b.Loop() {
		if err := c.Sign(b.Context(), r); err != nil {
			b.Fatal(err)
		}
	}
}
