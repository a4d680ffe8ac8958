package judge;

import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.context.support.ConceptValidationOptions;
import ca.uhn.fhir.context.support.DefaultProfileValidationSupport;
import ca.uhn.fhir.context.support.IValidationSupport.IssueSeverity;
import ca.uhn.fhir.context.support.ValidationSupportContext;
import ca.uhn.fhir.parser.LenientErrorHandler;
import ca.uhn.fhir.validation.FhirValidator;
import java.io.BufferedReader;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashSet;
import java.util.Set;
import org.hl7.fhir.common.hapi.validation.support.CommonCodeSystemsTerminologyService;
import org.hl7.fhir.common.hapi.validation.support.InMemoryTerminologyServerValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.PrePopulatedValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.SnapshotGeneratingValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.UnknownCodeSystemWarningValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.ValidationSupportChain;
import org.hl7.fhir.common.hapi.validation.validator.FhirInstanceValidator;
import org.hl7.fhir.instance.model.api.IBaseResource;
import org.hl7.fhir.r4.model.Coding;
import org.hl7.fhir.r4.model.OperationOutcome;
import org.hl7.fhir.r5.utils.validation.constants.BestPracticeWarningLevel;

/**
 * HL7's instance validator: a resource a line on stdin, an OperationOutcome a line on stdout.
 *
 * Arguments: folders of JSON definitions; of two with one url the first is taken.
 */
public class Main {
  private final FhirContext fhir = FhirContext.forR4();
  private final ValidationSupportChain chain;
  private final FhirValidator validator;

  private Main(String[] folders) throws Exception {
    fhir.setParserErrorHandler(new LenientErrorHandler(false));
    UnknownCodeSystemWarningValidationSupport unknown = new UnknownCodeSystemWarningValidationSupport(fhir);
    unknown.setNonExistentCodeSystemSeverity(IssueSeverity.WARNING);
    InMemoryTerminologyServerValidationSupport terminology = new InMemoryTerminologyServerValidationSupport(fhir);
    terminology.setIssueSeverityForCodeDisplayMismatch(IssueSeverity.ERROR);
    chain = new ValidationSupportChain(
        definitions(folders), new DefaultProfileValidationSupport(fhir), new CommonCodeSystemsTerminologyService(fhir),
        terminology, new SnapshotGeneratingValidationSupport(fhir), unknown);
    // otherwise a local code beside a SNOMED one fails a required binding; see `codings` for what this lets through
    chain.setCodeableConceptValidationSuccessfulIfNotAllCodingsAreValid(true);
    FhirInstanceValidator hl7 = new FhirInstanceValidator(chain);
    hl7.setAnyExtensionsAllowed(false);
    hl7.setErrorForUnknownProfiles(true);
    hl7.setBestPracticeWarningLevel(BestPracticeWarningLevel.Ignore);
    hl7.setAssumeValidRestReferences(true);  // otherwise the type of a relative reference is not looked at
    validator = fhir.newValidator().registerValidatorModule(hl7);
  }

  private PrePopulatedValidationSupport definitions(String[] folders) throws Exception {
    PrePopulatedValidationSupport own = new PrePopulatedValidationSupport(fhir);
    Set<String> known = new LinkedHashSet<>();
    for (String folder : folders) {
      try (var files = Files.newDirectoryStream(Path.of(folder), "*.json")) {
        for (Path file : files) {
          IBaseResource resource = fhir.newJsonParser().parseResource(Files.readString(file));
          String url = fhir.newTerser().getSinglePrimitiveValueOrNull(resource, "url");
          if (url != null && known.add(url)) own.addResource(resource);
        }
      }
    }
    return own;
  }

  private String judge(String json) {
    OperationOutcome outcome;
    try {
      outcome = (OperationOutcome) validator.validateWithResult(json).toOperationOutcome();
      codings(fhir.newJsonParser().parseResource(json), outcome);
    } catch (Exception unreadable) {
      outcome = new OperationOutcome();
      outcome.addIssue().setSeverity(OperationOutcome.IssueSeverity.FATAL).setDiagnostics(unreadable.toString());
    }
    return fhir.newJsonParser().encodeResourceToString(outcome);
  }

  /** Every Coding against its own code system: HAPI stops at the first one that satisfies a binding. */
  private void codings(IBaseResource resource, OperationOutcome outcome) {
    ValidationSupportContext context = new ValidationSupportContext(chain);
    Set<Coding> all = new LinkedHashSet<>(fhir.newTerser().getAllPopulatedChildElementsOfType(resource, Coding.class));
    for (var inside : fhir.newTerser().getAllEmbeddedResources(resource, true))
      all.addAll(fhir.newTerser().getAllPopulatedChildElementsOfType(inside, Coding.class));
    for (Coding coding : all) {
      if (!coding.hasSystem() || !coding.hasCode() || !chain.isCodeSystemSupported(context, coding.getSystem())) continue;
      var found = chain.validateCode(
          context, new ConceptValidationOptions(), coding.getSystem(), coding.getCode(), coding.getDisplay(), null);
      if (found == null) continue;
      boolean displayIsWrong = coding.hasDisplay() && found.isOk() && found.getDisplay() != null
          && !found.getDisplay().equalsIgnoreCase(coding.getDisplay());
      if (found.isOk() && !displayIsWrong && found.getSeverity() == null) continue;
      boolean isError = displayIsWrong || found.getSeverity() == IssueSeverity.ERROR;
      outcome.addIssue()
          .setSeverity(isError ? OperationOutcome.IssueSeverity.ERROR : OperationOutcome.IssueSeverity.WARNING)
          .setDiagnostics("Coding " + coding.getSystem() + "#" + coding.getCode() + " '" + coding.getDisplay() + "': "
              + (displayIsWrong ? "the display is '" + found.getDisplay() + "'" : found.getMessage()));
    }
  }

  public static void main(String[] args) throws Exception {
    Main main = new Main(args);
    var lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    var answers = new PrintStream(new FileOutputStream(FileDescriptor.out), true, StandardCharsets.UTF_8);
    for (String line; (line = lines.readLine()) != null; ) answers.println(main.judge(line));
  }
}
