package env

import (
	"strings"

	"github.com/fairway-ai/fairway/aibackend/credentials"
)

// bedrock needs a region and anything that AWS credentials can come from.
func (d *detector) bedrock() {
	aws := &credentials.AWS{}
	source := ""
	home := d.get("HOME")
	switch {
	case d.get("AWS_BEARER_TOKEN_BEDROCK") != "":
		source = "AWS_BEARER_TOKEN_BEDROCK"
		aws.APIKey = &credentials.Value{Env: source}
	case d.get("AWS_ACCESS_KEY_ID") != "":
		source = "AWS_ACCESS_KEY_ID"
		if d.get("AWS_SECRET_ACCESS_KEY") == "" {
			d.warn("bedrock is left out: AWS_ACCESS_KEY_ID is set, but AWS_SECRET_ACCESS_KEY is not")
			return
		}
	case d.get("AWS_SECRET_ACCESS_KEY") != "":
		d.warn("bedrock is left out: AWS_SECRET_ACCESS_KEY is set, but AWS_ACCESS_KEY_ID is not")
		return
	case d.get("AWS_WEB_IDENTITY_TOKEN_FILE") != "":
		source = "AWS_WEB_IDENTITY_TOKEN_FILE"
		if d.get("AWS_ROLE_ARN") == "" {
			d.warn("bedrock is left out: AWS_WEB_IDENTITY_TOKEN_FILE is set, but AWS_ROLE_ARN is not")
			return
		}
	default:
		source, _ = d.first("AWS_PROFILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_SHARED_CREDENTIALS_FILE")
	}
	from, region := d.first("AWS_REGION", "AWS_DEFAULT_REGION")
	if source == "" && region != "" && (d.exists(home, ".aws", "credentials") || d.exists(home, ".aws", "config")) {
		source = "~/.aws"
	}
	switch {
	case source == "" && region == "":
		return
	case source == "":
		d.warn("bedrock is left out: %s is set, but no AWS credentials are: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE or AWS_BEARER_TOKEN_BEDROCK", from)
		return
	case region == "":
		d.warn("bedrock is left out: %s is set, but AWS_REGION is not", source)
		return
	case !place.MatchString(region):
		d.warn("bedrock is left out: %s is not a region", from)
		return
	}
	domain := "amazonaws.com"
	if strings.HasPrefix(region, "cn-") {
		domain += ".cn"
	}
	aws.Region = region
	d.add(Provider{Name: "bedrock", Schema: AWSBedrock, Region: region, Credentials: credentials.Config{Type: credentials.TypeAWS, AWS: aws}},
		from, "https://bedrock-runtime."+region+"."+domain)
}

// vertex needs a project and application default credentials.
func (d *detector) vertex() {
	_, project := d.first("GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT")
	file := d.get("GOOGLE_APPLICATION_CREDENTIALS")
	switch {
	case project == "" && file == "":
		return
	case project == "":
		d.warn("vertex is left out: GOOGLE_APPLICATION_CREDENTIALS is set, but GOOGLE_CLOUD_PROJECT is not")
		return
	case !place.MatchString(project):
		d.warn("vertex is left out: GOOGLE_CLOUD_PROJECT is not a project")
		return
	case file == "" && !d.exists(d.get("HOME"), ".config", "gcloud", "application_default_credentials.json"):
		d.warn("vertex is left out: GOOGLE_CLOUD_PROJECT is set, but GOOGLE_APPLICATION_CREDENTIALS is not")
		return
	}
	from, location := d.first("GOOGLE_CLOUD_LOCATION", "GOOGLE_CLOUD_REGION")
	host := "aiplatform.googleapis.com"
	switch {
	case location == "":
		location = "global"
	case !place.MatchString(location):
		d.warn("vertex is left out: %s is not a location", from)
		return
	}
	if location != "global" {
		host = location + "-" + host
	}
	d.add(Provider{Name: "vertex", Schema: GCPVertexAI, Region: location, Project: project,
		Credentials: credentials.Config{Type: credentials.TypeGCP, GCP: &credentials.GCP{}}}, from, "https://"+host)
}

// gemini is Google's developer API, at its address for OpenAI clients.
func (d *detector) gemini() {
	if name, _ := d.first("GEMINI_API_KEY", "GOOGLE_API_KEY"); name != "" {
		d.add(Provider{Name: "gemini", Schema: OpenAI, Credentials: key(name, "")}, "", "https://generativelanguage.googleapis.com/v1beta/openai")
	}
}

func (d *detector) cohere() {
	name, _ := d.first("COHERE_API_KEY", "CO_API_KEY")
	base := d.get("CO_API_URL")
	switch {
	case name == "" && base == "":
		return
	case name == "":
		d.warn("cohere is left out: CO_API_URL is set, but COHERE_API_KEY is not")
		return
	case base == "":
		base = "https://api.cohere.com"
	}
	d.add(Provider{Name: "cohere", Schema: CohereSchema, Credentials: key(name, "")}, "CO_API_URL", base)
}
