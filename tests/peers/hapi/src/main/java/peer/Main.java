package peer;

import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.context.support.IValidationSupport;
import ca.uhn.fhir.jpa.api.config.JpaStorageSettings;
import ca.uhn.fhir.jpa.api.dao.IFhirSystemDao;
import ca.uhn.fhir.jpa.packages.IPackageInstallerSvc;
import ca.uhn.fhir.jpa.packages.PackageInstallationSpec;
import ca.uhn.fhir.jpa.provider.IJpaSystemProvider;
import ca.uhn.fhir.jpa.provider.JpaCapabilityStatementProvider;
import ca.uhn.fhir.jpa.search.DatabaseBackedPagingProvider;
import ca.uhn.fhir.jpa.term.api.ITermDeferredStorageSvc;
import ca.uhn.fhir.rest.server.RestfulServer;
import ca.uhn.fhir.rest.server.interceptor.RequestValidatingInterceptor;
import ca.uhn.fhir.rest.server.provider.ResourceProviderFactory;
import ca.uhn.fhir.rest.server.util.ISearchParamRegistry;
import ca.uhn.fhir.validation.IValidatorModule;
import ca.uhn.fhir.validation.ResultSeverityEnum;
import java.io.ByteArrayInputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import org.eclipse.jetty.ee10.servlet.ServletContextHandler;
import org.eclipse.jetty.ee10.servlet.ServletHolder;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;
import org.hl7.fhir.utilities.npm.NpmPackage;
import org.springframework.context.annotation.AnnotationConfigApplicationContext;

/**
 * HAPI FHIR JPA, R4, on loopback; says `ready PORT` on stdout and ends with its stdin.
 *
 * System properties: `peer.port` (else a free one), `peer.jdbc` (else in memory), `peer.validate` (refuse what is not valid), `peer.package` (an NPM package to be installed first).
 */
public class Main {
  public static void main(String[] args) throws Exception {
    AnnotationConfigApplicationContext beans = new AnnotationConfigApplicationContext(Config.class);
    // rest.setInterceptorService(...) with the storage's registry would call each storage hook twice
    RestfulServer rest = new RestfulServer(beans.getBean(FhirContext.class));
    if (System.getProperty("peer.package") != null) install(beans, Path.of(System.getProperty("peer.package")));
    if (Boolean.getBoolean("peer.validate")) rest.registerInterceptor(validation(beans));
    rest.registerProviders(beans.getBean(ResourceProviderFactory.class).createProviders());
    rest.registerProvider(beans.getBean(IJpaSystemProvider.class));
    rest.setPagingProvider(beans.getBean(DatabaseBackedPagingProvider.class));
    rest.setServerConformanceProvider(new JpaCapabilityStatementProvider(
        rest, beans.getBean(IFhirSystemDao.class), beans.getBean(JpaStorageSettings.class),
        beans.getBean(ISearchParamRegistry.class), beans.getBean(IValidationSupport.class)));

    Server server = new Server();
    ServerConnector loopback = new ServerConnector(server);
    loopback.setHost("127.0.0.1");
    loopback.setPort(Integer.getInteger("peer.port", 0));
    server.addConnector(loopback);
    ServletContextHandler root = new ServletContextHandler("/");
    root.addServlet(new ServletHolder(rest), "/fhir/*");
    server.setHandler(root);
    server.start();
    System.out.println("ready " + loopback.getLocalPort());
    while (System.in.read() != -1) { }  // whoever started this has gone
    System.exit(0);
  }

  /** As an operator does it, and before anything is validated: HAPI remembers what it did not find. */
  private static void install(AnnotationConfigApplicationContext beans, Path file) throws Exception {
    byte[] contents = Files.readAllBytes(file);
    NpmPackage npm = NpmPackage.fromPackage(new ByteArrayInputStream(contents));
    beans.getBean(IPackageInstallerSvc.class).install(new PackageInstallationSpec()
        .setName(npm.name()).setVersion(npm.version()).setPackageContents(contents).setFetchDependencies(false)
        .setInstallMode(PackageInstallationSpec.InstallModeEnum.STORE_AND_INSTALL));
    beans.getBean(ITermDeferredStorageSvc.class).saveAllDeferred();
  }

  private static RequestValidatingInterceptor validation(AnnotationConfigApplicationContext beans) {
    RequestValidatingInterceptor validation = new RequestValidatingInterceptor();
    validation.addValidatorModule(beans.getBean(IValidatorModule.class));
    validation.setFailOnSeverity(ResultSeverityEnum.ERROR);
    return validation;
  }
}
